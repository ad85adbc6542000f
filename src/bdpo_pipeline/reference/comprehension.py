"""From reference log-probs to the comprehension table: mutual information, coefficients, and what there is to know of them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from bdpo_pipeline.objectives.weighting import Coefficients, Constants, Weighting


def compute_comprehension(
    logps: "pd.DataFrame", weighting: "Weighting", *, normalise: str, control: str, seed: int
) -> tuple["pd.DataFrame", dict[str, Any]]:
    """Return the ``comprehension`` table and its diagnostics (docs/artifacts.md).

    Args:
        logps: ``reference_logps`` of the pairs to weigh; no row for an objective that weighs none.
        weighting: from comprehension to coefficients.
        normalise: ``token`` or ``none``.
        control: ``none``; ``shuffled`` or ``reversed``, of the coefficients; or ``length``, tokens in place of comprehension.
        seed: of the ``shuffled`` control.
    """
    import torch

    logps = logps.reset_index(drop=True)
    chosen, rejected = _information(logps, normalise)
    lengths = (_tensor(logps["chosen_tokens"]), _tensor(logps["rejected_tokens"]))
    training = torch.tensor((logps["split"] == "train").to_numpy())
    by_length = control == "length"
    coefficients = _coefficients(*(lengths if by_length else (chosen, rejected)), training, weighting)
    coefficients = _apply_control(coefficients, training, control, seed)
    table = logps[["pair_id", "split"]].assign(
        chosen_mi=chosen.numpy(),
        rejected_mi=rejected.numpy(),
        imbalance=(chosen - rejected).numpy(),
        chosen_share=coefficients.chosen_share.numpy(),
        chosen_coefficient=coefficients.chosen.numpy(),
        rejected_coefficient=coefficients.rejected.numpy(),
        floored=coefficients.floored.numpy(),
        clipped=coefficients.clipped.numpy(),
    )
    return table, _diagnose(table, logps)


def training_constants(comprehension: "pd.DataFrame", weighting: "Weighting") -> "Constants":
    """Return what the coefficients of one pair take from all training pairs, from the ``comprehension`` table."""
    from bdpo_pipeline.objectives.weighting import measure_constants

    train = comprehension[comprehension["split"] == "train"]
    return measure_constants(_tensor(train["chosen_mi"]), _tensor(train["rejected_mi"]), weighting)


def _information(logps: "pd.DataFrame", normalise: str) -> tuple["Tensor", "Tensor"]:
    from bdpo_pipeline.objectives.comprehension import pointwise_mutual_information

    chosen, rejected = (
        pointwise_mutual_information(
            _tensor(logps[f"reference_{side}_logp"]),
            _tensor(logps[f"marginal_{side}_logp"]),
            _tensor(logps[f"{side}_tokens"]),
            normalise=normalise,
        )
        for side in ("chosen", "rejected")
    )
    return chosen, rejected


def _coefficients(
    chosen: "Tensor", rejected: "Tensor", training: "Tensor", weighting: "Weighting"
) -> "Coefficients":
    from bdpo_pipeline.objectives.weighting import Constants, compute_coefficients, measure_constants

    nothing = Constants(1.0, 1.0, 1.0)
    constants = measure_constants(chosen[training], rejected[training], weighting) if len(chosen) else nothing
    return compute_coefficients(chosen, rejected, weighting, constants)


def _apply_control(
    coefficients: "Coefficients", training: "Tensor", control: str, seed: int
) -> "Coefficients":
    from bdpo_pipeline.objectives.weighting import reverse_coefficients, shuffle_coefficients

    if control == "shuffled":
        return shuffle_coefficients(coefficients, training, seed=seed)
    return reverse_coefficients(coefficients) if control == "reversed" else coefficients


def _diagnose(table: "pd.DataFrame", logps: "pd.DataFrame") -> dict[str, Any]:
    """Return what the coefficients rest on, over the training pairs."""
    import numpy as np

    if table.empty:
        return {"pairs": 0}
    train = (table["split"] == "train").to_numpy()
    t, tokens = table[train], logps[train]
    length_ratio = np.log((tokens["rejected_tokens"] / tokens["chosen_tokens"]).to_numpy())
    both = np.concatenate([t["chosen_mi"], t["rejected_mi"]])
    return {
        "pairs": len(t),
        "chosen_mi": {"mean": _number(t["chosen_mi"].mean()), "sd": _number(t["chosen_mi"].std())},
        "rejected_mi": {"mean": _number(t["rejected_mi"].mean()), "sd": _number(t["rejected_mi"].std())},
        "imbalance": {"mean": _number(t["imbalance"].mean()), "sd": _number(t["imbalance"].std())},
        "chosen_share": {"mean": _number(t["chosen_share"].mean()), "sd": _number(t["chosen_share"].std())},
        "mean_coefficient_sum": _number((t["chosen_coefficient"] + t["rejected_coefficient"]).mean()),
        "negative_share": _number((both < 0).mean()),
        "floored_share": _number(t["floored"].mean()),
        "clipped_share": _number(t["clipped"].mean()),
        "correlation_mi_with_tokens": _number(
            np.corrcoef(both, np.concatenate([tokens["chosen_tokens"], tokens["rejected_tokens"]]))[0, 1]
        ),
        "correlation_share_with_log_length_ratio": _number(
            np.corrcoef(t["chosen_share"], length_ratio)[0, 1]
        ),
    }


def _tensor(column: "pd.Series[Any]") -> "Tensor":
    import torch

    return torch.tensor(column.to_numpy(dtype="float64"))


def _number(value: float) -> float | None:
    """Return a JSON number; a statistic of too few or constant values is null."""
    import math

    return float(value) if math.isfinite(value) else None

"""From reference log-probs to the comprehension table: mutual information, coefficients, and what there is to know of them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    from bdpo_pipeline.objectives.weighting import Coefficients, Constants, Weighting


def compute_comprehension(
    logps: "pd.DataFrame", weighting: "Weighting", *, normalise: str, control: str, seed: int
) -> tuple["pd.DataFrame", dict[str, Any]]:
    """Return the ``comprehension`` table and its diagnostics (docs/artifacts.md).

    Args:
        logps: ``reference_logps`` of the pairs to weigh; no row for an objective that weighs none. The marginal log-probs may be
            missing where the coefficients do not depend on them (setting ``none``, control ``length``).
        weighting: from comprehension to coefficients.
        normalise: ``token`` or ``none``.
        control: ``none``; ``shuffled`` or ``reversed``, of the coefficients; or ``length``, tokens in place of comprehension.
        seed: of the ``shuffled`` control.
    """
    import torch

    logps = logps.reset_index(drop=True)
    chosen, rejected = _information(logps, normalise)
    training = torch.tensor((logps["split"] == "train").to_numpy())
    if weighting.setting == "none":
        # No pair is told from another, which is what equal comprehension says; the marginals may be missing.
        basis = (torch.ones_like(chosen), torch.ones_like(rejected))
    elif control == "length":
        basis = (_tensor(logps["chosen_tokens"]), _tensor(logps["rejected_tokens"]))
    else:
        basis = (chosen, rejected)
    coefficients = _coefficients(*basis, training, weighting)
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


def measure_information(logps: "pd.DataFrame", normalise: str) -> "pd.DataFrame":
    """Return `pair_id`, `split`, `chosen_mi`, `rejected_mi` and `imbalance` (chosen minus rejected) of pairs that have both log-probs.

    Args:
        logps: ``reference_logps`` with the marginal log-probs of all its pairs.
        normalise: ``token``, for nats per token, or ``none``, for nats a response.
    """
    logps = logps.reset_index(drop=True)
    chosen, rejected = (side.numpy() for side in _information(logps, normalise))
    return logps[["pair_id", "split"]].assign(
        chosen_mi=chosen, rejected_mi=rejected, imbalance=chosen - rejected
    )


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
    lengths = np.concatenate([tokens["chosen_tokens"], tokens["rejected_tokens"]])
    length_ratio = np.log((tokens["rejected_tokens"] / tokens["chosen_tokens"]).to_numpy())
    both = np.concatenate([t["chosen_mi"], t["rejected_mi"]])
    return {
        "pairs": len(t),
        "chosen_mi": _mean_and_sd(t["chosen_mi"]),
        "rejected_mi": _mean_and_sd(t["rejected_mi"]),
        "imbalance": _mean_and_sd(t["imbalance"]),
        "chosen_share": _mean_and_sd(t["chosen_share"]),
        "mean_coefficient_sum": _number((t["chosen_coefficient"] + t["rejected_coefficient"]).mean()),
        "negative_share": None if np.isnan(both).all() else float((both < 0).mean()),
        "floored_share": _number(t["floored"].mean()),
        "clipped_share": _number(t["clipped"].mean()),
        "correlation_mi_with_tokens": _correlation(both, lengths),
        "correlation_share_with_log_length_ratio": _correlation(t["chosen_share"].to_numpy(), length_ratio),
    }


def _mean_and_sd(column: "pd.Series[Any]") -> dict[str, float | None]:
    return {"mean": _number(column.mean()), "sd": _number(column.std())}


def _correlation(first: "NDArray[Any]", second: "NDArray[Any]") -> float | None:
    """Return Pearson's correlation, null where one of the two is constant or missing."""
    import numpy as np

    if not (first.std() > 0 and second.std() > 0):
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _tensor(column: "pd.Series[Any]") -> "Tensor":
    import torch

    return torch.tensor(column.to_numpy(dtype="float64"))


def _number(value: float) -> float | None:
    """Return a JSON number; a statistic of too few or missing values is null."""
    import math

    return float(value) if math.isfinite(value) else None

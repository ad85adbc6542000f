"""From reference log-probs to the comprehension table: mutual information, coefficients, and what there is to know of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from bdpo_pipeline.objectives.weighting import Coefficients


@dataclass(frozen=True)
class Weighting:
    """How mutual information is turned into coefficients; see ``conf/base/parameters_reference.yml``."""

    normalise: str
    setting: str
    weighting: str
    scale: str
    control: str
    floor: float
    clip: tuple[float, float]


def compute_comprehension(
    logps: "pd.DataFrame", weighting: Weighting, *, seed: int
) -> tuple["pd.DataFrame", dict[str, Any]]:
    """Return the ``comprehension`` table and its diagnostics (docs/artifacts.md) for the pairs with marginal log-probs.

    Args:
        logps: ``reference_logps``.
        weighting: how.
        seed: of the ``shuffled`` control.
    """
    import torch

    from bdpo_pipeline.objectives.comprehension import pointwise_mutual_information

    known = logps[logps["marginal_chosen_logp"].notna()].reset_index(drop=True)

    def column(name: str) -> "Tensor":
        return torch.tensor(known[name].to_numpy(dtype="float64"))

    chosen, rejected = (
        pointwise_mutual_information(
            column(f"reference_{side}_logp"),
            column(f"marginal_{side}_logp"),
            column(f"{side}_tokens"),
            normalise=weighting.normalise,
        )
        for side in ("chosen", "rejected")
    )
    by_length = weighting.control == "length"
    strengths = (column("chosen_tokens"), column("rejected_tokens")) if by_length else (chosen, rejected)
    training = torch.tensor((known["split"] == "train").to_numpy())
    coefficients = _apply_control(
        _coefficients(*strengths, training, weighting), training, weighting.control, seed
    )
    table = known[["pair_id", "split"]].assign(
        chosen_mi=chosen.numpy(),
        rejected_mi=rejected.numpy(),
        imbalance=(chosen - rejected).numpy(),
        chosen_share=coefficients.chosen_share.numpy(),
        chosen_coefficient=coefficients.chosen.numpy(),
        rejected_coefficient=coefficients.rejected.numpy(),
        floored=coefficients.floored.numpy(),
        clipped=coefficients.clipped.numpy(),
    )
    return table, _diagnose(table, known)


def _coefficients(
    chosen: "Tensor", rejected: "Tensor", training: "Tensor", weighting: Weighting
) -> "Coefficients":
    from bdpo_pipeline.objectives.weighting import compute_coefficients

    return compute_coefficients(
        chosen,
        rejected,
        training,
        setting=weighting.setting,
        weighting=weighting.weighting,
        scale=weighting.scale,
        floor=weighting.floor,
        clip=weighting.clip,
    )


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


def _number(value: float) -> float | None:
    """Return a JSON number; a statistic of too few or constant values is null."""
    import math

    return float(value) if math.isfinite(value) else None

"""Constrained DPO: pairs ordered by helpfulness minus lambda times harm, then DPO (after arXiv 2403.02475; part is ours)."""

import math
from typing import Literal

import torch
from torch import Tensor

from bdpo_pipeline.objectives.batch import PairBatch, PairLabels
from bdpo_pipeline.objectives.losses.dpo import dpo
from bdpo_pipeline.objectives.options import NonNegative, Positive
from bdpo_pipeline.objectives.registry import Need, Relabelling, objective


def order_by_constrained_reward(
    labels: PairLabels, *, cost: Literal["unsafe", "severity"] = "unsafe", cost_limit: NonNegative = 0.0
) -> Relabelling:
    """Swap the pairs whose chosen response has the lower reward minus lambda times cost.

    Chosen has one unit of reward more (people preferred it), so a pair is swapped where lambda (c_w - c_l) >= 1. Lambda is the
    least at which the mean cost of the preferred responses is at most the limit. The paper estimates that cost on samples of the
    policy, which takes a cost model and a training run for each lambda; ours is of the training pairs.

    Args:
        labels: of the pairs.
        cost: 1 for a response labelled unsafe and 0 for a safe one; or the severity of its harm, 0 to 3.
        cost_limit: largest mean cost of the preferred responses.

    Raises:
        ValueError: no lambda keeps to the limit, or a label is missing.
    """
    chosen, rejected = (
        (labels.chosen_unsafe, labels.rejected_unsafe)
        if cost == "unsafe"
        else (labels.chosen_severity, labels.rejected_severity)
    )
    if chosen.isnan().any() or rejected.isnan().any():
        raise ValueError(f"constrained_dpo with cost = {cost}: some pairs have no such label")
    excess = chosen - rejected
    # The order changes only where lambda passes 1 / excess of some pair: nothing lies between these values.
    decided_by = excess[labels.training]
    for bound in [math.inf, *decided_by[decided_by > 0].unique().flip(0).tolist()]:
        swap = excess >= bound
        mean_cost = float(torch.where(swap, rejected, chosen)[labels.training].mean())
        if mean_cost <= cost_limit:
            return Relabelling(torch.where(swap, -1, 1), {"lambda": 1 / bound, "mean_cost": mean_cost})
    raise ValueError(
        f"constrained_dpo: with every pair ordered by {cost} the preferred responses still cost {mean_cost:.4g} on average, more "
        f"than cost_limit = {cost_limit}: raise it, or leave out pairs of two unsafe responses (filtering.unsafe_chosen)"
    )


@objective("constrained_dpo", needs=Need.REFERENCE | Need.SAFETY_LABELS, relabel=order_by_constrained_reward)
def constrained_dpo(batch: PairBatch, *, beta: Positive = 0.1) -> Tensor:
    """Return DPO's loss per pair, of pairs in the constrained order."""
    return dpo(batch, beta=beta)

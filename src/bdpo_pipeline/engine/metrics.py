"""What is reported of a set of pairs, by TRL's names."""

from collections.abc import Mapping

import torch
from torch import Tensor

from bdpo_pipeline.objectives import BoundObjective, PairBatch


def pair_sums(objective: BoundObjective, batch: PairBatch, losses: Tensor) -> dict[str, Tensor]:
    """Return sums over the batch's pairs (fp64 scalars), to be divided by the number of pairs once all are in.

    Rewards are the objective's implicit ones (beta times the log-ratio where it has a reference), without the coefficients of a
    balanced objective, so that they compare between such objectives; accuracy is strictly greater.
    """
    seen = batch.detach()
    chosen, rejected = objective.rewards(seen)
    values = {
        "loss": losses.detach(),
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
        "rewards/accuracies": (chosen > rejected).float(),
        "logps/chosen": seen.policy_chosen,
        "logps/rejected": seen.policy_rejected,
    }
    return {name: value.double().sum() for name, value in values.items()}


def comprehension_sums(chosen: Tensor, rejected: Tensor) -> dict[str, Tensor]:
    """Return sums over pairs of comprehension under the policy and of its imbalance |I_w - I_l|."""
    values = {
        "comprehension/chosen": chosen,
        "comprehension/rejected": rejected,
        "comprehension/imbalance": (chosen - rejected).abs(),
    }
    return {name: value.double().sum() for name, value in values.items()}


def add_sums(total: dict[str, Tensor], part: Mapping[str, Tensor]) -> None:
    """Add ``part`` to ``total`` in place."""
    for name, value in part.items():
        total[name] = total.get(name, torch.zeros((), dtype=torch.float64, device=value.device)) + value

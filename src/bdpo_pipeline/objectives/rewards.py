"""The implicit reward of a response: what an objective raises for the chosen one over the rejected one, without its factor beta."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from bdpo_pipeline.objectives.batch import PairBatch

RewardName = Literal["log_ratio", "logp", "mean_logp"]
Reward = Callable[[PairBatch], tuple[Tensor, Tensor]]


def log_ratio(batch: PairBatch) -> tuple[Tensor, Tensor]:
    """Return D_w and D_l, each ``[pairs]``: of objectives with a reference."""
    return batch.chosen_logratio, batch.rejected_logratio


def logp(batch: PairBatch) -> tuple[Tensor, Tensor]:
    """Return l_w and l_l, each ``[pairs]``."""
    return batch.policy_chosen, batch.policy_rejected


def mean_logp(batch: PairBatch) -> tuple[Tensor, Tensor]:
    """Return l_w / n_w and l_l / n_l, each ``[pairs]``."""
    return batch.chosen_mean_logp, batch.rejected_mean_logp


REWARDS: dict[RewardName, Reward] = {"log_ratio": log_ratio, "logp": logp, "mean_logp": mean_logp}

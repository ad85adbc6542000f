"""Balanced Direct Preference Optimization (reconstructed from the outline of arXiv 2603.22829; see docs/method.md)."""

from typing import Literal

from torch import Tensor
from torch.nn.functional import logsigmoid

from bdpo_pipeline.objectives.batch import PairBatch
from bdpo_pipeline.objectives.options import Positive
from bdpo_pipeline.objectives.registry import Need, objective

Placement = Literal["reward", "gradient"]


@objective("bdpo", needs=Need.REFERENCE | Need.COMPREHENSION)
def bdpo(batch: PairBatch, *, beta: Positive = 0.1, placement: Placement = "reward") -> Tensor:
    """Return -log sigmoid(u) per pair, with each response's log-ratio scaled by its coefficient a_k.

    Args:
        batch: the pairs; the coefficients never receive gradient.
        beta: inverse temperature of the implicit reward.
        placement: ``reward``, u = beta (a_w D_w - a_l D_l); or ``gradient``, where u stays beta (D_w - D_l) and only the two
            gradient terms are scaled.
    """
    scale = _scale_reward if placement == "reward" else _scale_gradient
    chosen = scale(batch.chosen_logratio, batch.chosen_coefficient.detach())
    rejected = scale(batch.rejected_logratio, batch.rejected_coefficient.detach())
    return -logsigmoid(beta * (chosen - rejected))


def _scale_reward(logratio: Tensor, coefficient: Tensor) -> Tensor:
    return coefficient * logratio


def _scale_gradient(logratio: Tensor, coefficient: Tensor) -> Tensor:
    return logratio.detach() + coefficient * (logratio - logratio.detach())

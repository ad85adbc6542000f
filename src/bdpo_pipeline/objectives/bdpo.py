"""Balanced Direct Preference Optimization (reconstructed from the outline of arXiv 2603.22829; see docs/method.md)."""

from torch import Tensor
from torch.nn.functional import logsigmoid

from bdpo_pipeline.objectives.batch import PairBatch
from bdpo_pipeline.objectives.registry import objective

PLACEMENTS = ("reward", "gradient")


@objective("bdpo")
def bdpo(batch: PairBatch, *, beta: float = 0.1, placement: str = "reward") -> Tensor:
    """Return -log sigmoid(u) per pair, with each response's log-ratio scaled by its coefficient a_k.

    Args:
        batch: the pairs; the coefficients never receive gradient.
        beta: inverse temperature of the implicit reward.
        placement: ``reward``, u = beta (a_w D_w - a_l D_l); or ``gradient``, where u stays beta (D_w - D_l) and only the two
            gradient terms are scaled.

    Raises:
        ValueError: unknown placement.
    """
    chosen = _scale(batch.chosen_logratio, batch.chosen_coefficient.detach(), placement)
    rejected = _scale(batch.rejected_logratio, batch.rejected_coefficient.detach(), placement)
    return -logsigmoid(beta * (chosen - rejected))


def _scale(logratio: Tensor, coefficient: Tensor, placement: str) -> Tensor:
    if placement == "reward":
        return coefficient * logratio
    if placement == "gradient":
        return logratio.detach() + coefficient * (logratio - logratio.detach())
    raise ValueError(f"bdpo option placement = {placement!r}: there are {', '.join(PLACEMENTS)}")

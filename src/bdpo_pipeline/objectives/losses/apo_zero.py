"""Anchored Preference Optimization, the variant that raises chosen and lowers rejected (published: D'Oosterlinck et al., 2408.06266)."""

from torch import Tensor

from bdpo_pipeline.objectives.batch import PairBatch
from bdpo_pipeline.objectives.options import Positive
from bdpo_pipeline.objectives.registry import Need, objective


@objective("apo_zero", needs=Need.REFERENCE)
def apo_zero(batch: PairBatch, *, beta: Positive = 0.1) -> Tensor:
    """Return 1 - sigmoid(beta D_w) + sigmoid(beta D_l) per pair (equation 7, as in TRL).

    Bounded in [0, 2]. A response that is far on the wrong side gets as little gradient as one on the right side.
    """
    chosen, rejected = beta * batch.chosen_logratio, beta * batch.rejected_logratio
    return 1 - chosen.sigmoid() + rejected.sigmoid()

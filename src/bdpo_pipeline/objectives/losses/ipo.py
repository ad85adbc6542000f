"""Identity Preference Optimization (published: Azar et al., arXiv 2310.12036, equation 17)."""

from torch import Tensor

from bdpo_pipeline.objectives.batch import PairBatch
from bdpo_pipeline.objectives.options import Positive
from bdpo_pipeline.objectives.registry import Need, objective


@objective("ipo", needs=Need.REFERENCE)
def ipo(batch: PairBatch, *, beta: Positive = 0.1, average: bool = True) -> Tensor:
    """Return (d - 1 / (2 beta))^2 per pair.

    Args:
        batch: the pairs.
        beta: tau of the paper; the margin aims at 1 / (2 beta).
        average: whether d = D_w / n_w - D_l / n_l, as in TRL, which reports it to be what the authors ran; else d = D_w - D_l, as
            printed. At beta 0.1 the average aims at 5 nats per token, far out of reach, so the pull is nearly constant.
    """
    chosen, rejected = batch.chosen_logratio, batch.rejected_logratio
    if average:
        chosen, rejected = chosen / batch.chosen_tokens, rejected / batch.rejected_tokens
    return (chosen - rejected - 1 / (2 * beta)) ** 2

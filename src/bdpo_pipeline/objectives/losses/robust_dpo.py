"""Robust DPO for labels that are flipped at a known rate (published: Chowdhury et al., arXiv 2403.00409; as in TRL)."""

from torch import Tensor
from torch.nn.functional import logsigmoid

from bdpo_pipeline.objectives.batch import PairBatch
from bdpo_pipeline.objectives.options import FlipRate, Positive
from bdpo_pipeline.objectives.registry import Need, objective


@objective("robust_dpo", needs=Need.REFERENCE)
def robust_dpo(batch: PairBatch, *, beta: Positive = 0.1, label_smoothing: FlipRate = 0.1) -> Tensor:
    """Return [-(1 - e) log sigmoid(beta h) + e log sigmoid(-beta h)] / (1 - 2e) per pair, h = D_w - D_l.

    An unbiased estimate of DPO's loss if a share e of the labels is flipped. It has no lower bound: the gradient stays at least
    beta e / (1 - 2e) however large the margin grows.
    """
    logits = beta * (batch.chosen_logratio - batch.rejected_logratio)
    e = label_smoothing
    return (-(1 - e) * logsigmoid(logits) + e * logsigmoid(-logits)) / (1 - 2 * e)

"""Contrastive Preference Optimization, without a reference (published: Xu et al., arXiv 2401.08417; as in its first code and TRL)."""

from torch import Tensor
from torch.nn.functional import logsigmoid

from bdpo_pipeline.objectives.batch import PairBatch
from bdpo_pipeline.objectives.options import NonNegative, Positive
from bdpo_pipeline.objectives.registry import objective


@objective("cpo")
def cpo(batch: PairBatch, *, beta: Positive = 0.1, alpha: NonNegative = 1.0) -> Tensor:
    """Return -log sigmoid(beta (l_w - l_l)) + alpha NLL per pair.

    NLL averages over the chosen tokens of the optimiser step, as the sources do over those of their micro-batch: long responses weigh
    more. Without a reference the difference of two summed log-probs is large where lengths differ, and the sigmoid starts saturated.
    """
    return -logsigmoid(beta * (batch.policy_chosen - batch.policy_rejected)) + alpha * batch.chosen_nll

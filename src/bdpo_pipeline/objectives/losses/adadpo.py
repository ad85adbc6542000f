"""AdaDPO: the strength of the chosen side follows how likely it is beside the rejected (published: arXiv 2605.28440, at second hand)."""

import math

from torch import Tensor
from torch.nn.functional import logsigmoid

from bdpo_pipeline.objectives.batch import PairBatch
from bdpo_pipeline.objectives.options import Positive
from bdpo_pipeline.objectives.registry import Need, objective


@objective("adadpo", needs=Need.REFERENCE)
def adadpo(batch: PairBatch, *, beta: Positive = 0.1, ceiling: Positive = 2.0) -> Tensor:
    """Return -log sigmoid(b_w D_w - beta D_l) per pair, b_w = beta min(C, exp(l_w / n_w - l_l / n_l)).

    b_w receives no gradient. It has a ceiling C and no floor: a chosen response that the policy finds unlikely nearly leaves the loss.
    """
    advantage = (batch.chosen_mean_logp - batch.rejected_mean_logp).detach()
    strength = beta * advantage.clamp(max=math.log(ceiling)).exp()
    return -logsigmoid(strength * batch.chosen_logratio - beta * batch.rejected_logratio)

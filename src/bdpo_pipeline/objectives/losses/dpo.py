"""Direct Preference Optimization (published: Rafailov et al., arXiv 2305.18290, equation 7)."""

from torch import Tensor
from torch.nn.functional import logsigmoid

from bdpo_pipeline.objectives.batch import PairBatch
from bdpo_pipeline.objectives.options import FlipRate, Positive
from bdpo_pipeline.objectives.registry import Need, objective


@objective("dpo", needs=Need.REFERENCE)
def dpo(batch: PairBatch, *, beta: Positive = 0.1, label_smoothing: FlipRate = 0.0) -> Tensor:
    """Return -log sigmoid(beta (D_w - D_l)) per pair.

    With ``label_smoothing`` e it is conservative DPO, -(1 - e) log sigmoid(u) - e log sigmoid(-u): the label is taken to be
    wrong with probability e.
    """
    logits = beta * (batch.chosen_logratio - batch.rejected_logratio)
    return -(1 - label_smoothing) * logsigmoid(logits) - label_smoothing * logsigmoid(-logits)

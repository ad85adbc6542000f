"""Simple Preference Optimization, without a reference (published: Meng et al., arXiv 2405.14734; defaults of its code)."""

from torch import Tensor
from torch.nn.functional import logsigmoid

from bdpo_pipeline.objectives.batch import PairBatch
from bdpo_pipeline.objectives.options import NonNegative, Positive
from bdpo_pipeline.objectives.registry import objective


@objective("simpo", reward="mean_logp")
def simpo(batch: PairBatch, *, beta: Positive = 2.0, gamma_beta_ratio: NonNegative = 0.25) -> Tensor:
    """Return -log sigmoid(beta (l_w / n_w - l_l / n_l) - gamma) per pair, gamma = gamma_beta_ratio * beta."""
    margin = batch.chosen_mean_logp - batch.rejected_mean_logp
    return -logsigmoid(beta * (margin - gamma_beta_ratio))

"""WDPO: distributionally robust over inputs, within a Wasserstein ball (published: Xu et al., arXiv 2502.01930; as in its code)."""

from torch import Tensor

from bdpo_pipeline.objectives.batch import PairBatch
from bdpo_pipeline.objectives.losses.dpo import dpo
from bdpo_pipeline.objectives.options import NonNegative, Positive
from bdpo_pipeline.objectives.registry import Need, objective


@objective("wdpo", needs=Need.REFERENCE | Need.SENSITIVITY)
def wdpo(batch: PairBatch, *, beta: Positive = 0.1, rho: NonNegative = 0.01) -> Tensor:
    """Return L + rho |dL / de|^2 per pair: its DPO loss and the squared norm of its slope in the input embeddings of both responses.

    By the chain rule |dL / de|^2 = c^2 (G_w + G_l), c = beta sigmoid(-beta h), G_k = |d l_k / d e_k|^2. All of it is differentiated, at
    the cost of a backward pass through the backward pass. Rho goes with beta and the model: the authors report 0.005 to 100.
    """
    margin = beta * (batch.chosen_logratio - batch.rejected_logratio)
    slope = beta * (-margin).sigmoid()
    return dpo(batch, beta=beta) + rho * slope**2 * (batch.chosen_sensitivity + batch.rejected_sensitivity)

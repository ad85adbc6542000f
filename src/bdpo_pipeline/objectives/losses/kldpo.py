"""KLDPO: distributionally robust over pairs, within a KL ball (published: Xu et al., arXiv 2502.01930; as in its code)."""

import math

from torch import Tensor

from bdpo_pipeline.objectives.batch import PairBatch
from bdpo_pipeline.objectives.losses.dpo import dpo
from bdpo_pipeline.objectives.options import Positive
from bdpo_pipeline.objectives.registry import Need, objective

_LARGEST_WEIGHT = 10.0


@objective("kldpo", needs=Need.REFERENCE | Need.WHOLE_BATCH)
def kldpo(batch: PairBatch, *, beta: Positive = 0.1, tau: Positive = 1.0, normalise: bool = False) -> Tensor:
    """Return w L per pair, L its DPO loss and w = min(10, exp((L - mean L) / tau)), which receives no gradient.

    Pairs of high loss weigh more, the opposite of ``dr_dpo``. The batch is the optimiser step; in the authors' code the micro-batch of
    all processes.

    Args:
        batch: the pairs of a step.
        beta: of DPO.
        tau: temperature; it goes with beta.
        normalise: whether the weights are made to average 1, as in the paper; the authors' code does not.
    """
    losses = dpo(batch, beta=beta)
    excess = (losses - losses.mean()).detach() / tau
    weights = (
        excess.softmax(0) * len(losses) if normalise else excess.clamp(max=math.log(_LARGEST_WEIGHT)).exp()
    )
    return weights * losses

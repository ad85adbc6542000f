"""Dr. DPO: distributionally robust over the pairs of a batch (published: Wu et al., arXiv 2407.07880; as in its code)."""

import math

import torch
from torch import Tensor

from bdpo_pipeline.objectives.batch import PairBatch
from bdpo_pipeline.objectives.losses.dpo import dpo
from bdpo_pipeline.objectives.options import Positive
from bdpo_pipeline.objectives.registry import Need, objective


@objective("dr_dpo", needs=Need.REFERENCE | Need.WHOLE_BATCH)
def dr_dpo(batch: PairBatch, *, beta: Positive = 0.1, beta_prime: Positive = 1.0) -> Tensor:
    """Return -b' log mean exp(-L / b') over the batch's DPO losses L, the same value for each pair.

    Pairs of high loss weigh less, as if they were mislabelled. The batch is the optimiser step; in the authors' code it is the
    micro-batch of a process.
    """
    losses = dpo(batch, beta=beta)
    soft_minimum = beta_prime * (math.log(max(1, len(losses))) - torch.logsumexp(-losses / beta_prime, dim=0))
    return soft_minimum.expand(len(losses))

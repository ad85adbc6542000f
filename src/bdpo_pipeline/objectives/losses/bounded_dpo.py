"""Bounded DPO: the rejected side cannot lower the loss without end (published: arXiv 2506.12725, from an account by its author)."""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bdpo_pipeline.objectives.batch import PairBatch
from bdpo_pipeline.objectives.options import Positive, Weight
from bdpo_pipeline.objectives.registry import Need, objective


@objective("bounded_dpo", needs=Need.REFERENCE)
def bounded_dpo(batch: PairBatch, *, beta: Positive = 0.1, lam: Weight = 0.5) -> Tensor:
    """Return -log sigmoid(beta [D_w - log(lam e^{D_l} + 1 - lam)]) per pair.

    The rejected response is compared with a mixture of policy and reference, so it stops moving once it is a few nats below the
    reference. Lam is the source's, its beta unknown.
    """
    mixture = torch.logaddexp(
        batch.rejected_logratio + math.log(lam), torch.full_like(batch.rejected_logratio, math.log1p(-lam))
    )
    return -logsigmoid(beta * (batch.chosen_logratio - mixture))

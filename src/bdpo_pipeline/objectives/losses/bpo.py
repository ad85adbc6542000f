"""Balanced Preference Optimization: only the side that lags behind is optimised (published: arXiv 2506.03557). Not B-DPO."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bdpo_pipeline.objectives.batch import PairBatch
from bdpo_pipeline.objectives.options import Positive
from bdpo_pipeline.objectives.registry import Need, objective


@objective("bpo", needs=Need.REFERENCE)
def bpo(batch: PairBatch, *, beta: Positive = 0.1, alpha: Positive = 0.3) -> Tensor:
    """Return -log sigmoid(beta min(D_w, -alpha D_l)) per pair.

    Where both are equal, as in every pair at the start, each side gets half the gradient. Alpha is that of an experiment in the
    authors' README, their beta is unknown.
    """
    return -logsigmoid(beta * torch.minimum(batch.chosen_logratio, -alpha * batch.rejected_logratio))

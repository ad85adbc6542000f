"""DPO-Positive, which holds the chosen log-prob up (published: Pal et al., arXiv 2402.13228, as corrected in its third version)."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bdpo_pipeline.objectives.batch import PairBatch
from bdpo_pipeline.objectives.options import NonNegative, Positive
from bdpo_pipeline.objectives.registry import Need, objective


@objective("dpop", needs=Need.REFERENCE)
def dpop(batch: PairBatch, *, beta: Positive = 0.3, lam: NonNegative = 50.0) -> Tensor:
    """Return -log sigmoid(beta [h - lam max(0, -D_w)]) per pair, h = D_w - D_l.

    At the start D_w = 0, on the kink: relu's slope there is 0, so the first step is DPO's and not lam + 1 times as large. The authors
    released no code; beta and lam are known at second hand.
    """
    shortfall = torch.relu(-batch.chosen_logratio)
    return -logsigmoid(beta * (batch.chosen_logratio - batch.rejected_logratio - lam * shortfall))

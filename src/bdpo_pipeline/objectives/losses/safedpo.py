"""SafeDPO: safety labels order the pairs and add a margin (published: Kim et al., arXiv 2505.20065, equations 11 and 12)."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bdpo_pipeline.objectives.batch import PairBatch, PairLabels
from bdpo_pipeline.objectives.options import NonNegative, Positive
from bdpo_pipeline.objectives.registry import Need, Relabelling, objective


def order_by_safety(labels: PairLabels) -> Relabelling:
    """Keep a pair whose chosen response is safe, swap one of which only the rejected response is, drop one of which neither is."""
    kept = torch.where(labels.rejected_unsafe == 0, -1, 0)
    return Relabelling(torch.where(labels.chosen_unsafe == 0, 1, kept))


@objective("safedpo", needs=Need.REFERENCE | Need.SAFETY_LABELS, relabel=order_by_safety)
def safedpo(batch: PairBatch, *, beta: Positive = 0.1, delta: NonNegative = 10.0) -> Tensor:
    """Return -log sigmoid(beta h - (u_l - u_w) delta) per pair, h = D_w - D_l.

    The paper starts from pairs ordered by helpfulness (``ingestion.preference: helpful``, ``filtering.unsafe_chosen: keep``). A pair of
    a safe and an unsafe response aims at delta / beta nats: at the defaults 100, so its loss starts at 10 and falls almost linearly.
    Both defaults are known at second hand.
    """
    margin = beta * (batch.chosen_logratio - batch.rejected_logratio)
    return -logsigmoid(margin - (batch.rejected_unsafe - batch.chosen_unsafe) * delta)

"""Odds Ratio Preference Optimization, without a reference (published: Hong et al., arXiv 2403.07691, equations 6 and 7)."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bdpo_pipeline.objectives.batch import PairBatch
from bdpo_pipeline.objectives.options import NonNegative
from bdpo_pipeline.objectives.registry import objective

# Beyond this the odds p / (1 - p) overflow: the response counts as certain and its odds receive no more gradient.
_LARGEST_MEAN_LOGP = -1e-6


@objective("orpo", reward="mean_logp", strength="lam")
def orpo(batch: PairBatch, *, lam: NonNegative = 0.1) -> Tensor:
    """Return NLL(y_w) - lam log sigmoid(log odds(y_w) - log odds(y_l)) per pair, odds = p / (1 - p), p = exp(l / n).

    NLL averages over the chosen tokens of the optimiser step. It covers the response only, like the authors' ``--disable_prompt_loss``;
    by default they and TRL count the prompt, too.
    """
    log_odds_ratio = _log_odds(batch.chosen_mean_logp) - _log_odds(batch.rejected_mean_logp)
    return batch.chosen_nll - lam * logsigmoid(log_odds_ratio)


def _log_odds(mean_logp: Tensor) -> Tensor:
    bounded = mean_logp.clamp(max=_LARGEST_MEAN_LOGP)
    return bounded - torch.log(-torch.expm1(bounded))

"""The pairs of a training job, as rows to compute and columns to look up."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.layout import Row
from bdpo_pipeline.objectives import PairBatch

_OF_A_STEP = ("policy_chosen", "policy_rejected", "step_chosen_tokens")


@dataclass(frozen=True)
class PairData:
    """Pairs of a job.

    Attributes:
        rows: prompt with chosen (first) and rejected response of each pair.
        columns: per-pair columns of a batch, fp32 ``[pairs]``; what the job does not bring is NaN.
        training: numbers of the pairs to train on.
        validation: numbers of the others.
        marginal_context: token ids of the context that stands for no query; empty where the job brings none.
    """

    rows: list[Row]
    columns: dict[str, Tensor]
    training: list[int]
    validation: list[int]
    marginal_context: list[int]

    def batch(self, pairs: list[int], step: list[int], observed: Mapping[str, Tensor]) -> PairBatch:
        """Return pairs as an objective sees them.

        Args:
            pairs: their numbers.
            step: numbers of all pairs of the optimiser step.
            observed: what the policy says of the pairs, ``[pairs]`` each: ``policy_chosen``, ``policy_rejected``, and where they are
                asked for ``sensitivity_chosen``, ``sensitivity_rejected``.
        """
        chosen = observed["policy_chosen"]
        columns = {name: column[pairs].to(chosen.device) for name, column in self.columns.items()}
        columns["step_chosen_tokens"] = (
            self.columns["chosen_tokens"][step].mean().to(chosen.device).expand_as(chosen)
        )
        if "sensitivity_chosen" in observed:
            columns["chosen_sensitivity"] = observed["sensitivity_chosen"]
            columns["rejected_sensitivity"] = observed["sensitivity_rejected"]
        return PairBatch(policy_chosen=chosen, policy_rejected=observed["policy_rejected"], **columns)


def load_pairs(context: WorkerContext) -> PairData:
    """Return the job's pairs."""
    ids, flat = context.load_tokens()
    responses = ids["responses"]
    rows = [Row(prompt, [responses[2 * i], responses[2 * i + 1]]) for i, prompt in enumerate(ids["contexts"])]
    tokens = torch.tensor([len(response) for response in responses]).float().view(-1, 2)
    columns = {"chosen_tokens": tokens[:, 0], "rejected_tokens": tokens[:, 1]}
    for name in (field.name for field in fields(PairBatch)):
        if name not in columns and name not in _OF_A_STEP:
            columns[name] = _column(flat, name, len(rows))
    is_training = flat["is_training"].astype(bool)
    return PairData(
        rows=rows,
        columns=columns,
        training=is_training.nonzero()[0].tolist(),
        validation=(~is_training).nonzero()[0].tolist(),
        marginal_context=next(iter(ids.get("marginal_context", [])), []),
    )


def _column(flat: dict[str, Any], name: str, pairs: int) -> Tensor:
    return torch.from_numpy(flat[name]).float() if name in flat else torch.full((pairs,), torch.nan)

"""Loss, gradient and metrics of a set of pairs, however they are spread over processes and micro-batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bdpo_pipeline.engine.comprehension import Comprehension
from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.layout import Row, build_batch, plan_batches
from bdpo_pipeline.engine.logps import ResponseScorer
from bdpo_pipeline.engine.metrics import add_sums, comprehension_sums, pair_sums
from bdpo_pipeline.engine.pair_data import PairData
from bdpo_pipeline.engine.sensitivity import logps_and_sensitivities
from bdpo_pipeline.objectives import BoundObjective, Need


@dataclass(frozen=True)
class Measure:
    """``measure(pairs)`` returns metrics averaged over the pairs and, where gradients are on, adds those of the mean loss.

    An objective whose losses are independent is computed micro-batch by micro-batch. One that needs the whole batch takes a pass
    without gradients first: the log-probs of all pairs give the slope of the loss in each of them, and the second pass carries
    these slopes on to the weights. That is the same gradient, in the memory of a micro-batch.

    Attributes:
        scorer: around the model that is trained.
        data: the job's pairs.
        objective: what is minimised.
        comprehension: how to follow comprehension under the policy, at the cost of a pass over the responses; None for not at all.
        tokens_per_batch: bound of a micro-batch.
        context: of the worker.
        in_step: whether all processes must take the same number of forward passes, as where weights are sharded over them.
    """

    scorer: ResponseScorer
    data: PairData
    objective: BoundObjective
    comprehension: Comprehension | None
    tokens_per_batch: int
    context: WorkerContext
    in_step: bool = False

    def __call__(self, pairs: list[int]) -> dict[str, float]:
        """Measure these pairs, given by their numbers in the data; every process is given the same."""
        whole = Need.WHOLE_BATCH in self.objective.needs
        sums = self._together(pairs) if whole else self._apart(pairs)
        return {name: float(value) / len(pairs) for name, value in sums.items()}

    def _apart(self, pairs: list[int]) -> dict[str, Tensor]:
        """Return the sums over all pairs, from the losses of each micro-batch for itself."""
        # No pair first: a process that has none must add zeros to the same metrics.
        nothing = torch.zeros(0, len(self._columns), device=self.context.device)
        sums = self._losses([], pairs, nothing)[1]
        for places in self._micro_batches(pairs):
            numbers = [pairs[place] for place in places]
            losses, part = self._losses(numbers, pairs, self.observe(numbers))
            if torch.is_grad_enabled():
                (losses.sum() / len(pairs)).backward()
            add_sums(sums, part)
        total = self.context.accelerator.reduce(torch.stack(list(sums.values())), "sum")
        return dict(zip(sums, total, strict=True))

    def _together(self, pairs: list[int]) -> dict[str, Tensor]:
        """Return the sums over all pairs, from the losses of all of them at once."""
        learning = torch.is_grad_enabled()
        # Both passes must draw the same dropout.
        with torch.random.fork_rng(), torch.no_grad():
            observed = self._observe_everywhere(pairs)
        losses, sums = self._losses(pairs, pairs, observed.requires_grad_(learning))
        if learning:
            [slopes] = torch.autograd.grad(losses.mean(), observed)
            for places in self._micro_batches(pairs):
                self.observe([pairs[place] for place in places]).backward(slopes[places])
        return sums

    def _observe_everywhere(self, pairs: list[int]) -> Tensor:
        """Return what all processes observe of the pairs."""
        observed = torch.zeros(len(pairs), len(self._columns), device=self.context.device)
        for places in self._micro_batches(pairs):
            observed[places] = self.observe([pairs[place] for place in places])
        gathered: Tensor = self.context.accelerator.reduce(observed, "sum")
        return gathered

    def _micro_batches(self, pairs: list[int]) -> Iterator[list[int]]:
        """Yield the places in ``pairs`` of those of this process, a micro-batch at a time; some may be empty to stay in step."""
        plan = self._plan(pairs, self.context.accelerator.process_index)
        yield from plan
        if self.in_step:
            processes = range(self.context.accelerator.num_processes)
            yield from [[]] * (max(len(self._plan(pairs, process)) for process in processes) - len(plan))

    def _plan(self, pairs: list[int], process: int) -> list[list[int]]:
        """Return the micro-batches of a process, as places in ``pairs``."""
        places = self.context.share(range(len(pairs)), process)
        batches = plan_batches([self.data.rows[pairs[place]] for place in places], self.tokens_per_batch)
        return [[places[number] for number in numbers] for numbers in batches]

    def observe(self, numbers: list[int]) -> Tensor:
        """Return what the policy says of pairs, ``[pairs, columns]``: see `_columns`."""
        # With no pair of its own a process computes any one along with the others; nothing of it is kept.
        rows = [self.data.rows[i] for i in numbers] or self.data.rows[:1]
        if Need.SENSITIVITY in self.objective.needs:
            observed = list(logps_and_sensitivities(self.scorer.policy, rows, self.context.device))
        else:
            observed = [self._logps(rows)]
        if self.comprehension is not None:
            with torch.no_grad():
                observed.append(self._logps([Row(self.data.marginal_context, row.responses) for row in rows]))
        return torch.cat([values.view(-1, 2) for values in observed], dim=1)[: len(numbers)]

    @property
    def _columns(self) -> list[str]:
        """Names of what is observed: log-probs of chosen and rejected, and where asked for their sensitivities and marginals."""
        names = ["policy"]
        names += ["sensitivity"] if Need.SENSITIVITY in self.objective.needs else []
        names += ["marginal"] if self.comprehension is not None else []
        return [f"{name}_{side}" for name in names for side in ("chosen", "rejected")]

    def _logps(self, rows: list[Row]) -> Tensor:
        logps: Tensor = self.scorer(build_batch(rows).to(self.context.device))
        return logps

    def _losses(
        self, numbers: list[int], step: list[int], observed: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the losses of pairs of a step, ``[pairs]``, and the sums of what is reported of them."""
        found = dict(zip(self._columns, observed.unbind(1), strict=True))
        batch = self.data.batch(numbers, step, found)
        followed: dict[str, Tensor] = {}
        if self.comprehension is not None:
            marginals = (found["marginal_chosen"], found["marginal_rejected"])
            chosen, rejected = self.comprehension.measure(batch, *marginals)
            batch = self.comprehension.weigh(batch, chosen, rejected)
            followed = comprehension_sums(chosen, rejected)
        losses = self.objective.loss(batch)
        return losses, {**pair_sums(self.objective, batch, losses), **followed}

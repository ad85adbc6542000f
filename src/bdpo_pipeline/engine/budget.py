"""How many places a forward pass may take: as many as the memory budget allows, up to where more make nothing faster."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.footprint import peak_bytes
from bdpo_pipeline.engine.jobs import Compute
from bdpo_pipeline.engine.layout import Row
from bdpo_pipeline.engine.logps import base_model, decoder_and_head
from bdpo_pipeline.engine.memory import GB, find_budget

# Beyond these, time per place no longer falls.
ENOUGH_PLACES = {"cpu": 2048, "cuda": 32768}
# What is taken from the system for what tensors take at once. On a CPU the allocator keeps gaps between blocks, more with each pass: 1.2
# after one, 1.6 to 1.8 after a few (fp32, glibc). A GPU's rounds up.
OVERHEAD = {"cpu": 2.0, "cuda": 1.15}
# Passes up to this size are run through for their memory; what larger ones take is in proportion.
_MEASURED_PLACES = 4096


class BudgetError(RuntimeError):
    """A row alone takes more memory than the budget leaves."""


@dataclass(frozen=True)
class Layout:
    """A bound of the micro-batches, and where it comes from.

    Attributes:
        tokens_per_batch: bound of places in a forward pass.
        reason: where it comes from.
        memory_budget_bytes: of this process; None where the bound was given.
        memory_resting_bytes: expected between passes; None where the bound was given.
        memory_estimate_bytes: expected at most; None where the bound was given.
    """

    tokens_per_batch: int
    reason: str
    memory_budget_bytes: int | None = None
    memory_resting_bytes: int | None = None
    memory_estimate_bytes: int | None = None


def choose_places(
    compute: Compute,
    context: WorkerContext,
    model: nn.Module,
    rows: Sequence[Row],
    observe: Callable[[list[int]], Tensor],
    *,
    learning: bool,
    chosen: Mapping[str, Any] | None = None,
) -> int:
    """Return the bound of places in a forward pass, the same in every process.

    To be called before the model is sharded: what runs is then whole in one process.

    Args:
        compute: the job's; a given ``tokens_per_batch`` is returned as it is.
        context: of the worker.
        model: with the weights that the pass uses and, if learning, trains.
        rows: all that the job computes.
        observe: the pass over rows given by their numbers, to a tensor that is differentiated if learning.
        learning: whether there is a backward pass.
        chosen: the fields of the layout that the job began with, if it goes on.

    Raises:
        BudgetError: the longest row takes more than the budget.
    """
    layout = Layout(**chosen) if chosen is not None else None
    enough = _enough(model, context.device)
    if layout is None and compute.tokens_per_batch is not None:
        layout = Layout(compute.tokens_per_batch, "as given")
    if layout is None and not rows:
        layout = Layout(enough, "there is nothing to compute")
    if layout is None:
        layout = _fit(compute, context, model, rows, observe, learning=learning)
    places = torch.tensor([layout.tokens_per_batch], device=context.device)
    agreed = int(context.accelerator.gather(places).min())
    if context.accelerator.is_main_process:
        facts = asdict(layout) | {"tokens_per_batch": agreed}
        if compute.tokens_per_batch is None:
            context.emit({"event": "layout", **facts})
        context.facts.update(facts)
    return agreed


def resting_bytes(model: nn.Module, *, learning: bool, sharded_over: int = 1) -> int:
    """Return the bytes that a process holds between passes: weights, fp32 masters, fp32 gradients, two moments of AdamW.

    Args:
        model: with the weights.
        learning: whether those that require a gradient are trained.
        sharded_over: processes that share the weights; those trained beside frozen ones stay whole.
    """
    parameters = list(model.parameters())
    adapter_apart = any(not p.requires_grad for p in parameters)
    total = 0.0
    for parameter in parameters:
        each = float(parameter.element_size())
        trained = learning and parameter.requires_grad
        if trained:
            shards_are_masters = sharded_over > 1 and not adapter_apart
            master = 0 if parameter.element_size() == 4 else 4
            each = 16.0 if shards_are_masters else each + master + 12
        whole = sharded_over == 1 or (adapter_apart and parameter.requires_grad)
        total += each * parameter.numel() / (1 if whole else sharded_over)
    return int(total)


def longest_rows(rows: Sequence[Row], places: int) -> list[int]:
    """Return numbers of the longest rows that together take at most so many places; the longest in any case."""
    chosen: list[int] = []
    for number in sorted(range(len(rows)), key=lambda i: (-rows[i].tokens, i)):
        if chosen and rows[number].tokens > places:
            break
        chosen.append(number)
        places -= rows[number].tokens
    return chosen


def _fit(
    compute: Compute,
    context: WorkerContext,
    model: nn.Module,
    rows: Sequence[Row],
    observe: Callable[[list[int]], Tensor],
    *,
    learning: bool,
) -> Layout:
    device = context.device

    def measure(places: int) -> float:
        numbers = longest_rows(rows, places)
        tensors = peak_bytes(model, partial(observe, numbers), device, learning=learning)
        found = sum(rows[number].tokens for number in numbers)
        # Other rows may fill the places better than the longest do.
        filled = 1.0 if len(numbers) == len(rows) else max(places / found, 1.0)
        return OVERHEAD[device.type] * tensors * filled

    enough = _enough(model, device)
    places = min(enough, _MEASURED_PLACES)
    # Before memory is looked at, as running a pass without content loads code that stays.
    taken = measure(places)
    budget = find_budget(compute.memory_gb, device, context.local_processes)
    sharded_over = compute.processes if compute.sharding else 1
    held = sum(p.numel() * p.element_size() for p in model.parameters() if p.device.type == device.type)
    # Of what this process holds now, all but the weights stays; these will be what a step needs of them.
    resting = budget.used - held + resting_bytes(model, learning=learning, sharded_over=sharded_over)
    resting += gathered_bytes(model, learning=learning) if sharded_over > 1 else 0
    room = budget.total - resting
    longest = max(row.tokens for row in rows)
    while taken > room:
        if places <= longest:
            raise BudgetError(_too_long(longest, taken, resting, budget.total, budget.reason))
        places //= 2
        taken = measure(places)
    measured = places
    while places < enough and 2 * places * taken / measured <= room:
        places *= 2
    expected = int(resting + taken * places / measured)
    what = "forward and backward pass" if learning else "forward pass"
    reason = (
        f"{budget.total / GB:.2f} GB a process ({budget.reason}), {resting / GB:.2f} GB of them for the process, its weights and what "
        f"training keeps of each; a {what} over {measured} places takes {taken / GB:.2f} GB"
    )
    if places == enough:
        reason += f"; more than {enough} make nothing faster"
    return Layout(places, reason, int(budget.total), int(resting), expected)


def _enough(model: nn.Module, device: torch.device) -> int:
    """Return the number of places beyond which nothing is gained; where attention grows with their square, that is soon."""
    dense = base_model(model).config._attn_implementation == "segments_dense"
    return min(ENOUGH_PLACES[device.type], _MEASURED_PLACES) if dense else ENOUGH_PLACES[device.type]


def gathered_bytes(model: nn.Module, *, learning: bool) -> int:
    """Return a bound on what sharded weights take while they are whole: two layers, and what is in no layer, with gradients."""
    layers = [set(layer.parameters()) for layer in decoder_and_head(model)[0].layers]  # type: ignore[union-attr]
    in_layers = set().union(*layers)
    apart = any(not p.requires_grad for p in model.parameters())

    def whole(parameters: Iterable[nn.Parameter]) -> int:
        total = 0
        for p in parameters:
            if apart and p.requires_grad:  # an adapter, which stays whole and is counted with what rests
                continue
            trained = learning and p.requires_grad
            # The gradient, once as it is computed and once in fp32 to be summed up.
            total += p.numel() * (p.element_size() + (p.element_size() + 4 if trained else 0))
        return total

    return whole(set(model.parameters()) - in_layers) + 2 * max(map(whole, layers))


def _too_long(tokens: int, taken: float, resting: float, total: float, reason: str) -> str:
    return (
        f"the longest row of this job, of {tokens} tokens, takes {taken / GB:.2f} GB beside the {resting / GB:.2f} GB that the process "
        f"and its weights take, and the budget is {total / GB:.2f} GB ({reason}). Raise compute.memory_gb, set "
        "compute.activation_checkpointing to true (training), or lower the length bounds in filtering.length"
    )

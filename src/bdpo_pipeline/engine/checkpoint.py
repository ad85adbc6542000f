"""Checkpoints of training: written whole or not at all, the newest two kept, checked byte by byte before training goes on from one."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from bdpo_pipeline.durable import whole_folder
from bdpo_pipeline.engine.checkpoint_files import (
    PLAIN,
    TENSORS,
    checkpoint_path,
    complete_checkpoint,
    list_checkpoints,
    read_checkpoint,
)
from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.sealed import DamagedError, unseal
from bdpo_pipeline.engine.sharding import gather, spread
from bdpo_pipeline.engine.weights import TrainedWeights

_KEPT = 2


@dataclass
class TrainingState:
    """Everything that training needs to go on as if it had never stopped.

    Attributes:
        step: optimiser steps done.
        history: rows of the training history so far.
        tokens: tokens of training pairs seen.
        best_loss: lowest validation loss so far, None before the first evaluation.
        best_step: its step; None unless early stopping is on.
        waited: evaluations since then.
        best_weights: a snapshot of the weights at that step; empty unless early stopping is on.
    """

    step: int
    history: list[dict[str, Any]]
    tokens: int
    best_loss: float | None
    best_step: int | None
    waited: int
    best_weights: dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint.

    Attributes:
        folder: where it lies.
        plain: the state, without tensors.
        layout: what `engine.budget.choose_places` had decided when the training began.
        threads: of the processes that wrote it.
        processor: of the main one.
    """

    folder: Path
    plain: dict[str, Any]
    layout: dict[str, Any]
    threads: int
    processor: str


def save_checkpoint(
    context: WorkerContext, state: TrainingState, weights: TrainedWeights, optimiser: Optimizer
) -> None:
    """Write a checkpoint of ``state.step`` and drop the ones that are no longer needed; all processes call, the main one writes.

    Raises:
        NoSpaceError: there is no room; the checkpoints before are untouched.
    """
    if not context.accelerator.is_main_process and not weights.sharded:
        return
    optimiser_tensors = {
        f"optimiser/{index}/{key}": gather(value)
        for index, entries in optimiser.state_dict()["state"].items()
        for key, value in entries.items()
    }
    snapshot = weights.snapshot()
    if not context.accelerator.is_main_process:
        return
    folder = context.folder
    tensors = {
        **{f"weights/{name}": value for name, value in snapshot.items()},
        **{f"best/{name}": value for name, value in state.best_weights.items()},
        **{name: value for name, value in optimiser_tensors.items() if value is not None},
    }
    plain = {name: value for name, value in vars(state).items() if name != "best_weights"}
    needed = sum(value.numel() * value.element_size() for value in tensors.values())
    with whole_folder(checkpoint_path(folder, state.step), needed) as written:
        save_file({name: value.contiguous() for name, value in tensors.items()}, written / TENSORS)
        content = {
            "job": folder.name,
            "state": plain,
            "layout": context.facts,
            "threads": torch.get_num_threads(),
            "processor": _processor(context),
        }
        complete_checkpoint(written, content)
    for old in list_checkpoints(folder)[:-_KEPT]:
        shutil.rmtree(old)


def find_checkpoint(context: WorkerContext) -> Checkpoint | None:
    """Return the job's newest whole checkpoint, None without one; damaged ones are reported and removed. All processes call.

    The main process reads and decides for all: a shared file system may show others an older state.
    """
    step = -1
    if context.accelerator.is_main_process:
        found = list_checkpoints(context.folder)
        while found and step < 0:
            step = _check(context, found.pop())
    agreed = int(broadcast(torch.tensor([step], device=context.device)))
    if agreed < 0:
        return None
    folder = checkpoint_path(context.folder, agreed)
    content = unseal(folder / PLAIN)
    return Checkpoint(folder, content["state"], content["layout"], content["threads"], content["processor"])


def carry_over(checkpoint: Checkpoint, context: WorkerContext, threads: int | None) -> None:
    """Let this process compute as those did that wrote the checkpoint, and say what cannot be as it was.

    Args:
        checkpoint: to go on from.
        context: of the worker.
        threads: as the job asks for; where it does not, their number was found when the training began.
    """
    if threads is None:
        torch.set_num_threads(checkpoint.threads)
    if not context.accelerator.is_main_process:
        return
    context.emit({"event": "resumed", "step": checkpoint.plain["step"]})
    if checkpoint.processor != _processor(context):
        message = (
            f"{checkpoint.folder.name} was written on {checkpoint.processor} and training goes on on {_processor(context)}: the result "
            "may differ in last digits from that of a training that was never cut off"
        )
        context.emit({"event": "warning", "message": message})


def load_checkpoint(
    checkpoint: Checkpoint, context: WorkerContext, weights: TrainedWeights, optimiser: Optimizer
) -> TrainingState:
    """Set weights and optimiser to those of a checkpoint and return its state. All processes call."""
    with safe_open(checkpoint.folder / TENSORS, "pt") as tensors:
        # Of sharded weights the main process hands out the parts; the others need not read them.
        reads = context.accelerator.is_main_process or not weights.sharded
        weights.restore(_part(tensors, "weights/") if reads else {})
        restored = optimiser.state_dict()
        restored["state"] = {}
        for name in sorted(tensors.keys()):
            kind, *rest = name.split("/", 2)
            if kind == "optimiser":
                number, key = int(rest[0]), rest[1]
                like = weights.parameters[number]
                if tuple(tensors.get_slice(name).get_shape()) == tuple(like.shape):
                    value = spread(tensors.get_tensor(name) if reads else None, like)
                else:
                    value = tensors.get_tensor(name)
                restored["state"].setdefault(number, {})[key] = value
        best = _part(tensors, "best/") if reads else {}
    optimiser.load_state_dict(restored)
    return TrainingState(**checkpoint.plain, best_weights=best)


def _check(context: WorkerContext, folder: Path) -> int:
    """Return the step of a checkpoint, or -1 for a damaged one, which is removed."""
    try:
        return int(read_checkpoint(folder)["state"]["step"])
    except DamagedError as error:
        shutil.rmtree(folder)
        left = bool(list_checkpoints(context.folder))
        then = "the one before is tried" if left else "there is none before it: training starts anew"
        message = f"{folder} is damaged and was removed ({error}); {then}"
        context.emit({"event": "warning", "message": message})
        return -1


def _part(tensors: Any, prefix: str) -> dict[str, Tensor]:
    names = [name for name in tensors.keys() if name.startswith(prefix)]  # noqa: SIM118 - a file, not a dict
    return {name.removeprefix(prefix): tensors.get_tensor(name) for name in names}


def _processor(context: WorkerContext) -> str:
    if context.device.type == "cuda":
        return torch.cuda.get_device_name(context.device)
    return f"a CPU with {torch.backends.cpu.get_cpu_capability()}"

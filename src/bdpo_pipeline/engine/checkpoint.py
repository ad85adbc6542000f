"""Checkpoints of training: safetensors and JSON, written whole or not at all, the newest two kept."""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.sharding import gather, spread
from bdpo_pipeline.engine.weights import TrainedWeights

_PREFIX = "checkpoint-"
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


def save_checkpoint(
    context: WorkerContext, state: TrainingState, weights: TrainedWeights, optimiser: Optimizer
) -> None:
    """Write a checkpoint of ``state.step`` and drop the ones that are no longer needed; all processes call, the main one writes."""
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
    scratch = Path(tempfile.mkdtemp(prefix=".checkpoint-", dir=folder))
    tensors = {
        **{f"weights/{name}": value for name, value in snapshot.items()},
        **{f"best/{name}": value for name, value in state.best_weights.items()},
        **{name: value for name, value in optimiser_tensors.items() if value is not None},
    }
    save_file({name: value.contiguous() for name, value in tensors.items()}, scratch / "state.safetensors")
    plain = {
        "step": state.step,
        "history": state.history,
        "tokens": state.tokens,
        "best_loss": state.best_loss,
        "best_step": state.best_step,
        "waited": state.waited,
    }
    (scratch / "state.json").write_text(json.dumps(plain))
    for path in scratch.iterdir():
        _sync(path)
    scratch.replace(folder / f"{_PREFIX}{state.step:08d}")
    _sync(folder)
    for old in _checkpoints(folder)[:-_KEPT]:
        shutil.rmtree(old)


def load_checkpoint(
    context: WorkerContext, weights: TrainedWeights, optimiser: Optimizer
) -> TrainingState | None:
    """Set weights and optimiser to the job's newest checkpoint and return its state; None without one. All processes call."""
    newest = _newest(context)
    if newest is None:
        return None
    plain = json.loads((newest / "state.json").read_text())
    with safe_open(newest / "state.safetensors", "pt") as tensors:
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
    return TrainingState(**plain, best_weights=best)


def _newest(context: WorkerContext) -> Path | None:
    """Return the checkpoint that the main process sees as the newest: a shared file system may show others an older one."""
    found = _checkpoints(context.folder)
    step = int(found[-1].name.removeprefix(_PREFIX)) if found else -1
    agreed = int(broadcast(torch.tensor([step], device=context.device)))
    return None if agreed < 0 else context.folder / f"{_PREFIX}{agreed:08d}"


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*"))


def _part(tensors: Any, prefix: str) -> dict[str, Tensor]:
    names = [name for name in tensors.keys() if name.startswith(prefix)]  # noqa: SIM118 - a file, not a dict
    return {name.removeprefix(prefix): tensors.get_tensor(name) for name in names}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

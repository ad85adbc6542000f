"""Checkpoints of training: safetensors and JSON, written whole or not at all, the newest two kept."""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

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
        best_step: its step.
        waited: evaluations since then.
        best_weights: trainable tensors at that step; empty unless early stopping is on.
    """

    step: int
    history: list[dict[str, Any]]
    tokens: int
    best_loss: float | None
    best_step: int
    waited: int
    best_weights: dict[str, Tensor]


def trainable_weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """Return copies of the model's trainable tensors, on the CPU."""
    return {name: p.detach().cpu().clone() for name, p in model.named_parameters() if p.requires_grad}


def restore_weights(model: torch.nn.Module, weights: dict[str, Tensor]) -> None:
    """Set the model's trainable tensors."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)


def save_checkpoint(
    folder: Path, state: TrainingState, model: torch.nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    """Write a checkpoint of ``state.step`` below ``folder`` and drop the ones that are no longer needed."""
    scratch = Path(tempfile.mkdtemp(prefix=".checkpoint-", dir=folder))
    optimiser_tensors = {
        f"optimiser/{index}/{key}": value
        for index, entries in optimiser.state_dict()["state"].items()
        for key, value in entries.items()
    }
    tensors = {
        **{f"weights/{name}": value for name, value in trainable_weights(model).items()},
        **{f"best/{name}": value for name, value in state.best_weights.items()},
        **optimiser_tensors,
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
    folder: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer
) -> TrainingState | None:
    """Set model and optimiser to the newest checkpoint below ``folder`` and return its state; None without one."""
    checkpoints = _checkpoints(folder)
    if not checkpoints:
        return None
    tensors = load_file(checkpoints[-1] / "state.safetensors")
    restore_weights(model, _part(tensors, "weights/"))
    restored = optimiser.state_dict()
    restored["state"] = {}
    for name, value in _part(tensors, "optimiser/").items():
        index, key = name.split("/", 1)
        restored["state"].setdefault(int(index), {})[key] = value
    optimiser.load_state_dict(restored)
    plain = json.loads((checkpoints[-1] / "state.json").read_text())
    return TrainingState(**plain, best_weights=_part(tensors, "best/"))


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*"))


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Objectives by name. Adding one is one file with one decorated function."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bdpo_pipeline.objectives.batch import PairBatch

LossFunction = Callable[..., Tensor]


@dataclass(frozen=True)
class Objective:
    """A per-pair loss: ``loss(batch, **options)`` returns ``[pairs]``, of which the engine takes the mean."""

    loss: LossFunction
    defaults: Mapping[str, Any]


_objectives: dict[str, Objective] = {}


def objective(name: str) -> Callable[[LossFunction], LossFunction]:
    """Register the decorated loss function; its keyword-only arguments are its options, all with defaults."""

    def register(loss: LossFunction) -> LossFunction:
        options = [
            p for p in inspect.signature(loss).parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY
        ]
        _objectives[name] = Objective(loss, {p.name: p.default for p in options})
        return loss

    return register


def get_objective(name: str) -> Objective:
    """Return a registered objective.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name not in _objectives:
        raise ValueError(f"there is no objective {name!r}; there are: {', '.join(sorted(_objectives))}")
    return _objectives[name]


def resolve_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return an objective's options completed with its defaults.

    Raises:
        ValueError: unknown objective or option; the message lists the known ones.
    """
    defaults = get_objective(name).defaults
    unknown = sorted(set(options) - set(defaults))
    if unknown:
        raise ValueError(
            f"objective {name!r} has no option {', '.join(unknown)}; its options are: {', '.join(defaults)}"
        )
    return {**defaults, **options}


def bind_loss(name: str, options: Mapping[str, Any]) -> Callable[[PairBatch], Tensor]:
    """Return the loss with its options fixed: a function from a batch to per-pair losses ``[pairs]``."""
    loss, resolved = get_objective(name).loss, resolve_options(name, options)
    return lambda batch: loss(batch, **resolved)

"""Find a judge by its name: the name of a module of this package that defines `build(**options) -> Judge`."""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

import bdpo_pipeline.judges as package

from .base import Judge

_NOT_JUDGES = {"base", "registry"}


def judge_names() -> list[str]:
    """Return the names that `build_judge` accepts."""
    return sorted(module.name for module in iter_modules(package.__path__) if module.name not in _NOT_JUDGES)


def build_judge(name: str, options: Mapping[str, object]) -> Judge:
    """Return the judge of this name.

    Args:
        name: one of `judge_names()`.
        options: the judge's own options, as its module documents them.

    Raises:
        ValueError: if there is no such judge, or an option is unknown or out of range.
    """
    if name not in judge_names():
        raise ValueError(f"unknown judge {name!r}; the judges are: {', '.join(judge_names())}")
    judge: Judge = import_module(f"{package.__name__}.{name}").build(**options)
    return judge

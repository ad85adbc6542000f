"""Judges by configuration: `judging.judges` names each with its kind, a module of this package, and its options."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import bdpo_pipeline.judges as package

from .base import Judge, JudgeOptions, Resources

# Each is a module that defines `Options` (a `JudgeOptions`) and `build(options, resources) -> Judge`.
KINDS = ("refusal_phrases", "refusal_classifier", "safety_classifier", "rubric", "reward_model")


def read_options(configuration: Mapping[str, Any]) -> JudgeOptions:
    """Return the checked options of a judge; building it is not tried, which may need a model.

    Args:
        configuration: ``kind`` and options, as they stand in ``judging.judges``.

    Raises:
        ValueError: there is no such kind, or an option is unknown or out of range.
    """
    options: JudgeOptions = _module(configuration).Options.model_validate(
        {name: value for name, value in configuration.items() if name != "kind"}
    )
    return options


def build_judge(configuration: Mapping[str, Any], resources: Resources) -> Judge:
    """Return the judge that a configuration asks for.

    Raises:
        ValueError: see :func:`read_options`.
        JudgeError: it needs something that is not there, such as a model.
    """
    judge: Judge = _module(configuration).build(read_options(configuration), resources)
    return judge


def _module(configuration: Mapping[str, Any]) -> Any:
    kind = configuration.get("kind")
    if kind not in KINDS:
        raise ValueError(f"unknown kind of judge {kind!r}; give `kind`, one of: {', '.join(KINDS)}")
    return import_module(f"{package.__name__}.{kind}")

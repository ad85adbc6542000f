"""Judges by configuration: `judging.judges` names each with its kind, a module of this package, and its options."""

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import bdpo_pipeline.judges as package

from .base import Judge, JudgeOptions, Resources
from .text_classifier import digest

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


def describe_settings(configuration: Mapping[str, Any], resources: Resources) -> str:
    """Return what a measured accuracy belongs to, as JSON: a judge's kind and options, defaults included, and its classifier's hash.

    ``validate_on`` is not among them: it says what measures the judge, not how it judges.
    """
    options = read_options(configuration).model_dump(mode="json", exclude={"validate_on"})
    classifier = resources.classifiers.get(configuration["kind"])
    fitted = {} if classifier is None else {"classifier": digest(classifier)}
    return json.dumps({"kind": configuration["kind"], **options, **fitted}, sort_keys=True)


def _module(configuration: Mapping[str, Any]) -> Any:
    kind = configuration.get("kind")
    if kind not in KINDS:
        raise ValueError(f"unknown kind of judge {kind!r}; give `kind`, one of: {', '.join(KINDS)}")
    return import_module(f"{package.__name__}.{kind}")

"""The arms of a study, as `study` in the parameters gives them, made whole: each arm with its own groups of parameters.

Kedro asks for the graph before it tells the parameters, so what the graph follows from is kept here, too: see :func:`planned`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from bdpo_pipeline.parameters import ParameterGroup

# An arm that is not trained.
BASE = "base"
_NAME = r"^[a-z][a-z0-9_]*$"
# Groups of parameters of which an arm may have its own. An objective's options are no other's, so that group is never put together.
_WHOLE, _MERGED = "objective", ("comprehension", "training")
# Groups of which the whole study may have its own.
_OF_STUDY = ("generation", "ability")
_CHECKED_BY_NODES = ("choice", "scored_pairs")


class StudyError(ValueError):
    """The parameters of the study cannot be used; the message names the arm and the field."""


class GridPoint(ParameterGroup):
    """One point of the grid that every arm is tuned on."""

    learning_rate: float = Field(gt=0, description="in place of training.optimiser.learning_rate")
    strength: float = Field(
        gt=0, description="factor on the objective's beta, or what it has in place of one"
    )


class Arm(ParameterGroup):
    """What one arm changes; a group that it does not name is the project's own."""

    objective: dict[str, Any]
    comprehension: dict[str, Any] = Field(
        default_factory=dict, description="what differs from `comprehension`"
    )
    training: dict[str, Any] = Field(default_factory=dict, description="what differs from `training`")
    pairs: Literal["all", "balanced", "imbalanced", "random"] = Field(
        "all",
        description="the half of the training pairs with the least or the largest imbalance, or any half",
    )


class _Names(ParameterGroup):
    """What of `study` decides the graph; the rest is checked by the nodes that take it."""

    seeds: list[int] = Field(min_length=1)
    tuning_seed: int = Field(ge=0)
    grid: dict[str, GridPoint] = Field(min_length=1)
    arms: dict[str, Arm] = Field(min_length=1)

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ValueError(f"found {seeds}; accepted: different integers from 0")
        return seeds

    @model_validator(mode="after")
    def _tuned_apart(self) -> Self:
        if self.tuning_seed in self.seeds:
            raise ValueError(
                f"tuning_seed {self.tuning_seed} is one of seeds: the model that was the luckiest of the grid would be compared; give "
                "another"
            )
        return self


@dataclass(frozen=True)
class Plan:
    """What the graph of a study follows from.

    Attributes:
        arms: names of the arms that are trained, with the pairs that each takes.
        points: names of the grid's points.
        seeds: of the models that are compared.
    """

    arms: Mapping[str, str]
    points: tuple[str, ...]
    seeds: tuple[int, ...]


_planned: list[Plan] = []


def plan_study(plan: Plan) -> None:
    """Keep the plan of this session."""
    _planned[:] = [plan]


def planned() -> Plan | None:
    """Return the plan of the session in progress; None outside of a session and where there is no study."""
    return _planned[0] if _planned else None


def read_plan(parameters: Mapping[str, Any]) -> Plan | None:
    """Return what the graph follows from; None where there is no study.

    Args:
        parameters: with the group ``study``; the rest may be missing.

    Raises:
        StudyError: naming the arm and the field.
    """
    if "study" not in parameters:
        return None
    names = _read(parameters["study"])
    return Plan({name: arm.pairs for name, arm in names.arms.items()}, tuple(names.grid), tuple(names.seeds))


def expand_study(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with every arm made whole.

    In ``study``, ``seeds`` becomes a mapping (``seed_1: 1``), because a node can take a named parameter only; each arm has all of
    ``objective``, ``comprehension`` and ``training``; ``generation`` and ``ability`` are put over the project's. An arm or a point
    that is null is left out, so that an environment can do so.

    Args:
        parameters: all parameters, with those of the command line.

    Raises:
        StudyError: naming the arm and the field.
    """
    if "study" not in parameters:
        return parameters
    names = _read(parameters["study"])
    expanded = {
        **parameters["study"],
        "grid": {name: point.model_dump() for name, point in names.grid.items()},
        "seeds": {f"seed_{seed}": seed for seed in names.seeds},
        "arms": {name: _make_whole(name, arm, parameters) for name, arm in names.arms.items()},
        **{name: _put_over(parameters, name) for name in _OF_STUDY},
    }
    return {**parameters, "study": expanded}


def _read(study: Any) -> _Names:
    if not isinstance(study, dict):
        raise StudyError(f"study: found {study!r}; accepted: seeds, grid, arms and more, see docs/study.md")
    known = (*_Names.model_fields, *_OF_STUDY, *_CHECKED_BY_NODES)
    for name in study:
        if name not in known:
            raise StudyError(f"study: there is no {name!r}; {_accepted(known)}")
    try:
        names = _Names.model_validate(
            {name: _without_null(study[name]) for name in _Names.model_fields if name in study}
        )
    except ValueError as error:
        raise StudyError(f"study: {error}") from error
    for kind, found in (("arms", names.arms), ("grid", names.grid)):
        for name in found:
            _check_name(kind, name)
    return names


def _without_null(given: Any) -> Any:
    return {k: v for k, v in given.items() if v is not None} if isinstance(given, dict) else given


def _check_name(kind: str, name: str) -> None:
    if not re.match(_NAME, name) or name == BASE:
        raise StudyError(
            f"study.{kind}: found the name {name!r}; accepted: small letters, digits and _, beginning with a letter"
            + (f", and not {BASE!r}, which stands for the model that is not trained" if name == BASE else "")
        )


def _make_whole(name: str, arm: Arm, parameters: Mapping[str, Any]) -> dict[str, Any]:
    merged = {
        group: _merge(parameters.get(group, {}), getattr(arm, group), f"study.arms.{name}.{group}")
        for group in _MERGED
    }
    return {_WHOLE: arm.objective, **merged, "pairs": arm.pairs}


def _put_over(parameters: Mapping[str, Any], group: str) -> Any:
    """Return a group with what the study gives in place of some fields; a field is whole, as its names may be the user's."""
    own, project = parameters["study"].get(group, {}), parameters.get(group, {})
    if not isinstance(own, dict):
        raise StudyError(f"study.{group}: found {own!r}; accepted: fields of `{group}`")
    for name in own:
        if not isinstance(project, dict) or name not in project:
            raise StudyError(f"study.{group}: there is no {name!r}; {_accepted(project)}")
    return {**project, **own} if own else project


def _merge(given: Any, own: Mapping[str, Any], where: str) -> Any:
    if not own:
        return given
    if not isinstance(given, Mapping):
        raise StudyError(
            f"{where}: found fields for what is {given!r} in the project; accepted: a group of it"
        )
    merged = dict(given)
    for name, value in own.items():
        if name not in merged:
            raise StudyError(f"{where}: there is no {name!r}; {_accepted(merged)}")
        if isinstance(value, Mapping) and isinstance(merged[name], Mapping):
            merged[name] = _merge(merged[name], value, f"{where}.{name}")
        else:
            merged[name] = value
    return merged


def _accepted(names: Any) -> str:
    known = ", ".join(map(str, names)) if isinstance(names, dict | tuple) else ""
    return f"accepted: {known}" if known else "accepted: no field, as the project has none there"

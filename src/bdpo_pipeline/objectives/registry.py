"""Objectives by name: what each minimises, what it needs to be computed for it, and which options it takes."""

import enum
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, get_type_hints

import torch
from torch import Tensor

from bdpo_pipeline.objectives.batch import PairBatch, PairLabels
from bdpo_pipeline.objectives.options import check_option
from bdpo_pipeline.objectives.rewards import REWARDS, Reward, RewardName

T = TypeVar("T")
LossFunction = Callable[..., Tensor]


@dataclass(frozen=True)
class Relabelling:
    """What an objective's own policy makes of labelled pairs.

    Attributes:
        decisions: ``[pairs]``, 1 to keep a pair, -1 to swap chosen and rejected, 0 to drop it.
        facts: what else is worth reporting, such as a multiplier that was found.
    """

    decisions: Tensor
    facts: Mapping[str, float] = field(default_factory=dict)


RelabelFunction = Callable[..., Relabelling]


class Need(enum.Flag):
    """What must be computed before an objective can be; policy log-probs and lengths are always there."""

    NOTHING = 0
    REFERENCE = enum.auto()
    """Log-probs of both responses under the reference model."""
    COMPREHENSION = enum.auto()
    """Coefficients from mutual information."""
    SAFETY_LABELS = enum.auto()
    """Labels of safety of both responses."""
    SENSITIVITY = enum.auto()
    """Slopes of the policy's log-probs in its input embeddings, which themselves carry gradient."""
    WHOLE_BATCH = enum.auto()
    """All pairs of an optimiser step at once, because the loss of one pair depends on the others."""


_ALWAYS = ("policy_chosen", "policy_rejected", "chosen_tokens", "rejected_tokens", "step_chosen_tokens")
_COLUMNS = {
    Need.REFERENCE: ("reference_chosen", "reference_rejected"),
    Need.COMPREHENSION: ("chosen_coefficient", "rejected_coefficient"),
    Need.SAFETY_LABELS: ("chosen_unsafe", "rejected_unsafe"),
    Need.SENSITIVITY: ("chosen_sensitivity", "rejected_sensitivity"),
}
# Computed in each step, so no job brings them.
_IN_TRAINING = Need.SENSITIVITY


@dataclass(frozen=True)
class Objective:
    """A registered objective; see :func:`objective`."""

    name: str
    loss: LossFunction
    needs: Need
    reward: RewardName
    relabel: RelabelFunction | None
    strength: str


@dataclass(frozen=True)
class BoundObjective:
    """An objective with its options fixed.

    Attributes:
        name: its name.
        loss: from a batch to losses ``[pairs]``, of which the mean is minimised.
        needs: what it must be given.
        reward: name of its implicit reward.
        options: all of them, defaults included.
        relabel: from labels to what becomes of each pair, or None to keep all as they are.
    """

    name: str
    loss: Callable[[PairBatch], Tensor]
    needs: Need
    reward: RewardName
    options: Mapping[str, Any]
    relabel: Callable[[PairLabels], Relabelling] | None

    @property
    def beta(self) -> float:
        """Factor of the implicit reward; 1 for an objective that has none."""
        return float(self.options.get("beta", 1.0))

    def rewards(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Return the implicit rewards of the chosen and the rejected responses, each ``[pairs]``."""
        reward: Reward = REWARDS[self.reward]
        chosen, rejected = reward(batch)
        return self.beta * chosen, self.beta * rejected

    @property
    def needs_reference(self) -> bool:
        """Whether it takes log-probs under the reference model."""
        return Need.REFERENCE in self.needs

    @property
    def needs_comprehension(self) -> bool:
        """Whether it takes coefficients from mutual information."""
        return Need.COMPREHENSION in self.needs

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of a batch that must be known of its pairs before training."""
        return tuple(
            n for need, names in _COLUMNS.items() if need in self.needs & ~_IN_TRAINING for n in names
        )


_objectives: dict[str, Objective] = {}


def objective(
    name: str,
    *,
    needs: Need = Need.NOTHING,
    reward: RewardName | None = None,
    relabel: RelabelFunction | None = None,
    strength: str = "beta",
) -> Callable[[LossFunction], LossFunction]:
    """Register the decorated loss: ``loss(batch, *, option=default, ...)`` returns ``[pairs]``.

    Its keyword-only arguments are its options; their types (``bdpo_pipeline.objectives.options``) say what values are accepted.

    Args:
        name: as it stands in ``objective.name`` of the parameters.
        needs: what must be computed for it; a column that it does not declare is NaN.
        reward: its implicit reward, for metrics: by default the log-ratio where it needs a reference, else the log-prob.
        relabel: decides from the labels, before training, which pairs are kept, swapped or dropped; may have options of its own.
        strength: the option that a study tunes it by.
    """

    def register(loss: LossFunction) -> LossFunction:
        default: RewardName = "log_ratio" if Need.REFERENCE in needs else "logp"
        _objectives[name] = Objective(name, loss, needs, reward or default, relabel, strength)
        return loss

    return register


def objective_names() -> list[str]:
    """Return the names of all objectives, sorted."""
    return sorted(_objectives)


def bind_objective(name: str, options: Mapping[str, Any]) -> BoundObjective:
    """Return an objective with its options fixed, after trying it on two pairs.

    Raises:
        ValueError: unknown objective or option, a value out of bounds, or an objective that uses what it does not declare.
    """
    if name not in _objectives:
        raise ValueError(f"there is no objective {name!r}; there are: {', '.join(objective_names())}")
    found = _objectives[name]
    defaults = {**_defaults(found.loss), **(_defaults(found.relabel) if found.relabel else {})}
    unknown = sorted(set(options) - set(defaults))
    if unknown:
        known = ", ".join(defaults) or "none"
        raise ValueError(f"objective {name!r} has no option {', '.join(unknown)}; its options are: {known}")
    resolved = {**defaults, **options}
    bound = BoundObjective(
        name=name,
        loss=_fix(found.loss, resolved, name),
        needs=found.needs,
        reward=found.reward,
        options=resolved,
        relabel=_fix(found.relabel, resolved, name) if found.relabel else None,
    )
    _try_out(bound)
    return bound


def scale_strength(name: str, options: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Return all options of an objective, with its strength times a factor: beta, or what it declares in place of one.

    Raises:
        ValueError: as :func:`bind_objective`; or the objective has no such option and the factor is not 1.
    """
    bound, strength = bind_objective(name, options), _objectives[name].strength
    if factor == 1:
        return dict(bound.options)
    if strength not in bound.options:
        raise ValueError(
            f"objective {name!r} has no option {strength!r} to tune its strength by: give it `strength=` where it is registered, "
            "or a grid whose strength is 1"
        )
    scaled = {**bound.options, strength: factor * bound.options[strength]}
    return dict(bind_objective(name, scaled).options)


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _fix(function: Callable[..., T], options: Mapping[str, Any], owner: str) -> Callable[[Any], T]:
    """Return the function with its options fixed, after checking them."""
    mine = {name: options[name] for name in _defaults(function)}
    kinds = get_type_hints(function, include_extras=True)
    for name, value in mine.items():
        check_option(owner, name, value, kinds[name])
    return lambda given: function(given, **mine)


def _try_out(bound: BoundObjective) -> None:
    """Compute the loss of two made-up pairs in which every column that was not declared is NaN."""
    given = {*_ALWAYS, *(name for need, names in _COLUMNS.items() if need in bound.needs for name in names)}
    values = {f.name: torch.full((2,), 1.0 if f.name in given else torch.nan) for f in fields(PairBatch)}
    values |= {"policy_chosen": torch.tensor([-3.0, -2.0]), "policy_rejected": torch.tensor([-2.0, -4.0])}
    losses = bound.loss(PairBatch(**values))
    if losses.shape != (2,):
        raise ValueError(
            f"objective {bound.name!r} returns a tensor of shape {list(losses.shape)} for 2 pairs: it takes [2], a loss for each pair"
        )
    if losses.isnan().any():
        columns = "; ".join(f"{need.name}: {', '.join(names)}" for need, names in _COLUMNS.items())
        raise ValueError(
            f"objective {bound.name!r} uses a column that it does not declare; it declares {bound.needs}. Columns by need: {columns}"
        )

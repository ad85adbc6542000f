"""Registry and options: what is not accepted is named, with what is."""

import math
import re
from typing import Annotated, Literal

import pytest
import torch

from bdpo_pipeline.objectives import Need, bind_objective, objective, objective_names, registry
from bdpo_pipeline.objectives.options import (
    FlipRate,
    Interval,
    NonNegative,
    Positive,
    Share,
    Weight,
    check_option,
)


@pytest.fixture
def register(monkeypatch):
    """`register(loss, needs=...)` registers an objective named "mine" for this test only."""
    monkeypatch.setattr(registry, "_objectives", dict(registry._objectives))
    return lambda loss, **declared: objective("mine", **declared)(loss)


def test_the_family_is_there():
    family = "adadpo apo_zero bdpo bounded_dpo bpo constrained_dpo cpo dpo dpop dr_dpo ipo kldpo orpo robust_dpo safedpo simpo wdpo"
    assert objective_names() == family.split()


def test_an_unknown_objective_is_named_with_all_there_are():
    with pytest.raises(
        ValueError, match=re.escape(f"no objective 'dppo'; there are: {', '.join(objective_names())}")
    ):
        bind_objective("dppo", {})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "dpo",
            {"betta": 0.1},
            "objective 'dpo' has no option betta; its options are: beta, label_smoothing",
        ),
        ("apo_zero", {"x": 1, "a": 2}, "objective 'apo_zero' has no option a, x; its options are: beta"),
        # Options of relabelling are those of the objective, too.
        ("constrained_dpo", {"limit": 1}, "its options are: beta, cost, cost_limit"),
        ("dpo", {"beta": 0}, "objective 'dpo': option beta = 0; it takes a number in (0, inf)"),
        ("dpo", {"beta": math.inf}, "option beta = inf; it takes a number in (0, inf)"),
        ("dpo", {"beta": math.nan}, "objective 'dpo': option beta = nan; it takes a number in (0, inf)"),
        ("dpo", {"beta": "0.1"}, "option beta = '0.1'; it takes a number in (0, inf)"),
        ("dpo", {"beta": True}, "option beta = True; it takes a number in (0, inf)"),
        ("dpo", {"beta": None}, "option beta = None; it takes a number in (0, inf)"),
        ("dpo", {"label_smoothing": 0.5}, "option label_smoothing = 0.5; it takes a number in [0, 0.5)"),
        (
            "robust_dpo",
            {"label_smoothing": 0.5},
            "objective 'robust_dpo': option label_smoothing = 0.5; it takes",
        ),
        ("bounded_dpo", {"lam": 1}, "option lam = 1; it takes a number in (0, 1)"),
        ("bounded_dpo", {"lam": 0.0}, "option lam = 0.0; it takes a number in (0, 1)"),
        ("safedpo", {"delta": -1}, "option delta = -1; it takes a number in [0, inf)"),
        ("ipo", {"average": 1}, "objective 'ipo': option average = 1; it takes a bool"),
        ("bdpo", {"placement": "rewards"}, "option placement = 'rewards'; it takes one of reward, gradient"),
        (
            "bdpo",
            {"placement": ["reward"]},
            "option placement = ['reward']; it takes one of reward, gradient",
        ),
        ("constrained_dpo", {"cost": "harm"}, "option cost = 'harm'; it takes one of unsafe, severity"),
        ("constrained_dpo", {"cost_limit": -0.1}, "option cost_limit = -0.1; it takes a number in [0, inf)"),
    ],
)
def test_an_option_that_is_not_accepted_is_named_with_what_is(name, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        bind_objective(name, options)


@pytest.mark.parametrize(
    ("kind", "accepted", "refused"),
    [
        (Positive, [1e-9, 1, 1e9], [0, -1, math.inf]),
        (NonNegative, [0, 0.0, 3], [-1e-9, math.inf]),
        (Share, [0, 1, 0.5], [1.01, -0.01]),
        (FlipRate, [0, 0.49], [0.5, 1]),
        (Weight, [0.01, 0.99], [0, 1]),
        (Annotated[float, Interval(1, 2, open_low=True)], [1.5, 2], [1, 2.1]),
        (bool, [True, False], [0, "true"]),
        (Literal["a", "b"], ["a", "b"], ["c", 1]),
    ],
)
def test_bounds(kind, accepted, refused):
    for value in accepted:
        check_option("mine", "option", value, kind)
    for value in [*refused, None, math.nan]:
        with pytest.raises(ValueError, match=r"objective 'mine': option option = .*; it takes"):
            check_option("mine", "option", value, kind)


def test_options_are_resolved_with_the_defaults():
    bound = bind_objective("constrained_dpo", {"beta": 0.5})
    assert bound.options == {"beta": 0.5, "cost": "unsafe", "cost_limit": 0.0}
    assert bound.beta == 0.5
    assert bind_objective("orpo", {}).beta == 1


@pytest.mark.parametrize("name", objective_names())
def test_rewards_are_beta_times_what_the_objective_raises(batch, name):
    bound, pairs = bind_objective(name, {}), batch()
    if bound.needs_reference:
        expected = (
            pairs.policy_chosen - pairs.reference_chosen,
            pairs.policy_rejected - pairs.reference_rejected,
        )
    elif name == "cpo":
        expected = pairs.policy_chosen, pairs.policy_rejected
    else:
        expected = pairs.policy_chosen / pairs.chosen_tokens, pairs.policy_rejected / pairs.rejected_tokens
    for ours, theirs in zip(bound.rewards(pairs), expected, strict=True):
        torch.testing.assert_close(ours, bound.beta * theirs)


def test_a_new_objective_is_bound_by_its_name(batch, register):
    def loss(batch, *, gain: Positive = 2.0):
        return -gain * batch.chosen_logratio

    register(loss, needs=Need.REFERENCE)
    bound = bind_objective("mine", {"gain": 3.0})
    pairs = batch()
    torch.testing.assert_close(bound.loss(pairs), 3 * (pairs.reference_chosen - pairs.policy_chosen))
    assert bound.columns == ("reference_chosen", "reference_rejected")


@pytest.mark.parametrize(
    ("column", "need"),
    [
        ("reference_rejected", "REFERENCE"),
        ("chosen_coefficient", "COMPREHENSION"),
        ("chosen_unsafe", "SAFETY_LABELS"),
        ("rejected_sensitivity", "SENSITIVITY"),
    ],
)
def test_reading_a_column_that_is_not_declared_is_refused(register, column, need):
    register(lambda batch: batch.policy_chosen * getattr(batch, column))
    message = f"objective 'mine' uses a column that it does not declare; .*{need}: [a-z_, ]*{column}"
    with pytest.raises(ValueError, match=message):
        bind_objective("mine", {})
    register(lambda batch: batch.policy_chosen * getattr(batch, column), needs=Need[need])
    assert Need[need] in bind_objective("mine", {}).needs


@pytest.mark.parametrize(
    ("loss", "shape"),
    [
        (lambda batch: batch.policy_chosen.mean(), "[]"),
        (lambda batch: batch.policy_chosen[:, None], "[2, 1]"),
    ],
)
def test_a_loss_that_is_not_one_for_each_pair_is_refused(register, loss, shape):
    register(loss)
    message = (
        f"objective 'mine' returns a tensor of shape {shape} for 2 pairs: it takes [2], a loss for each pair"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        bind_objective("mine", {})

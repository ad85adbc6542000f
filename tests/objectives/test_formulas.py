"""Value and gradient of every objective against its published formula, against finite differences, and in fp32."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bdpo_pipeline.objectives import Need, bind_objective, objective_names

from .cases import CASES, OPTIONS, differentiate, is_stopped, label, rearrange
from .formulas import FORMULAS, Pairs, wdpo_penalty

every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=label)


def test_every_objective_has_a_formula_and_cases():
    assert sorted(FORMULAS) == objective_names(), "tests/objectives/formulas.py: add the formula"
    assert sorted(OPTIONS) == objective_names(), "tests/objectives/cases.py: add options to try"


@pytest.mark.parametrize("name", objective_names())
def test_every_option_of_the_loss_is_tried(name):
    bound = bind_objective(name, {})
    tried = {option for options in OPTIONS[name] for option in options}
    # How pairs are relabelled is tested in test_relabel.py.
    relabelling = {"cost", "cost_limit"} if name == "constrained_dpo" else set()
    assert tried == set(bound.options) - relabelling


def test_the_pairs_lie_on_both_sides_of_every_bend(batch):
    pairs = batch()
    bends = {
        "dpop": pairs.chosen_logratio,
        "bpo": pairs.chosen_logratio + 0.3 * pairs.rejected_logratio,
        "bpo, alpha 1": pairs.chosen_logratio + pairs.rejected_logratio,
        "adadpo": pairs.chosen_mean_logp - pairs.rejected_mean_logp - np.log(2),
        "adadpo, ceiling 1.5": pairs.chosen_mean_logp - pairs.rejected_mean_logp - np.log(1.5),
    }
    assert all(set(bend.sign().tolist()) == {-1.0, 1.0} for bend in bends.values())


@every_case
def test_value_is_the_formula(batch, name, options):
    bound, pairs = bind_objective(name, options), batch()
    ours, theirs = bound.loss(pairs).numpy(), formula_loss(bound, pairs)
    if (
        Need.WHOLE_BATCH in bound.needs
    ):  # Only the mean is defined: who bears which part of it is anyone's choice.
        ours, theirs = ours.mean(), theirs.mean()
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


@every_case
def test_gradient_is_the_formula(batch, name, options):
    bound, pairs = bind_objective(name, options), batch()
    _, *ours = differentiate(bound, pairs)
    theirs = FORMULAS[name].gradient(Pairs.of(pairs), **bound.options)
    np.testing.assert_allclose(np.array([g.numpy() for g in ours]), np.array(theirs), rtol=1e-10)
    assert all(g.abs().max() > 1e-4 for g in ours)


@every_case
def test_gradient_is_the_finite_difference_of_the_formula(batch, name, options):
    """With what the source stops held fixed, so it holds for stop-gradients, too."""
    bound, pairs = bind_objective(name, options), batch()
    _, *ours = differentiate(bound, pairs)
    theirs = FORMULAS[name].numerical_gradient(Pairs.of(pairs), dict(bound.options))
    np.testing.assert_allclose(np.array([g.numpy() for g in ours]), np.array(theirs), rtol=1e-5, atol=1e-8)


@every_case
def test_gradient_is_the_finite_difference_of_the_loss_unless_parts_are_stopped(batch, name, options):
    bound, pairs = bind_objective(name, options), batch()

    def loss(chosen, rejected, chosen_sensitivity, rejected_sensitivity):
        return bound.loss(
            replace(
                pairs,
                policy_chosen=chosen,
                policy_rejected=rejected,
                chosen_sensitivity=chosen_sensitivity,
                rejected_sensitivity=rejected_sensitivity,
            )
        )

    inputs = [
        tensor.clone().requires_grad_()
        for tensor in (
            pairs.policy_chosen,
            pairs.policy_rejected,
            pairs.chosen_sensitivity,
            pairs.rejected_sensitivity,
        )
    ]
    agrees = torch.autograd.gradcheck(loss, inputs, raise_exception=not is_stopped(bound))
    assert agrees != is_stopped(bound)


def test_wdpo_gradient_in_the_sensitivities_is_the_formula(batch):
    pairs = batch()
    slopes = [g.clone().requires_grad_() for g in (pairs.chosen_sensitivity, pairs.rejected_sensitivity)]
    pairs = replace(pairs, chosen_sensitivity=slopes[0], rejected_sensitivity=slopes[1])
    losses = bind_objective("wdpo", {"rho": 0.5, "beta": 0.2}).loss(pairs)
    for gradient in torch.autograd.grad(losses.sum(), slopes):
        np.testing.assert_allclose(gradient.numpy(), wdpo_penalty(Pairs.of(pairs), 0.2, 0.5), rtol=1e-10)


@every_case
def test_fp32_is_close_to_fp64(batch, name, options):
    bound, pairs = bind_objective(name, options), batch()
    narrow = differentiate(bound, rearrange(pairs, torch.Tensor.float))
    for ours, exact in zip(narrow, differentiate(bound, pairs), strict=True):
        assert ours.dtype == torch.float32
        # Log-ratios are differences of numbers near 100, of which fp32 keeps five decimals.
        torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-6)


def formula_loss(bound, pairs):
    given = Pairs.of(pairs)
    return FORMULAS[bound.name].loss(given, at=given, **bound.options)

"""What holds for every objective: what it reads, how it treats a batch, and where it goes as beta goes to 0."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch

from bdpo_pipeline.objectives import Need, bind_objective, objective_names

from .cases import CASES, COLUMNS, differentiate, evaluate, label, mirror, rearrange
from .formulas import Pairs

every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=label)
every_objective = pytest.mark.parametrize("name", objective_names())
ALWAYS = {"policy_chosen", "policy_rejected", "chosen_tokens", "rejected_tokens", "step_chosen_tokens"}
COLUMNS_OF = {
    Need.REFERENCE: {"reference_chosen", "reference_rejected"},
    Need.COMPREHENSION: {"chosen_coefficient", "rejected_coefficient"},
    Need.SAFETY_LABELS: {"chosen_unsafe", "rejected_unsafe"},
    Need.SENSITIVITY: {"chosen_sensitivity", "rejected_sensitivity"},
}


def declared(bound):
    return set().union(*(columns for need, columns in COLUMNS_OF.items() if need in bound.needs))


@every_case
def test_what_is_not_declared_is_not_read(batch, name, options):
    bound, pairs = bind_objective(name, options), batch()
    unknown = set(COLUMNS) - ALWAYS - declared(bound)
    blinded = replace(pairs, **{column: torch.full((6,), torch.nan) for column in unknown})
    for seen, blind in zip(differentiate(bound, pairs), differentiate(bound, blinded), strict=True):
        assert torch.equal(seen, blind)
    if bound.needs_reference:
        assert torch.isfinite(torch.stack(bound.rewards(blinded))).all()


@every_objective
def test_what_is_declared_matters(batch, name):
    bound, pairs = bind_objective(name, {}), batch()
    assert all(column in COLUMNS for column in bound.columns)
    for column in declared(bound):
        changed = replace(pairs, **{column: 1.5 - getattr(pairs, column)})
        same = all(
            torch.equal(a, b)
            for a, b in zip(differentiate(bound, pairs), differentiate(bound, changed), strict=True)
        )
        # The labels of constrained_dpo decide which pairs there are instead: test_relabel.py.
        assert same == (name == "constrained_dpo" and column in COLUMNS_OF[Need.SAFETY_LABELS]), column


@every_objective
def test_columns_before_training_are_those_of_its_needs(name):
    bound = bind_objective(name, {})
    assert set(bound.columns) == declared(bound) - COLUMNS_OF[Need.SENSITIVITY]


@every_case
def test_permuting_the_pairs_permutes_losses_and_gradients(batch, name, options):
    bound, pairs = bind_objective(name, options), batch()
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    permuted = differentiate(bound, rearrange(pairs, lambda column: column[order]))
    for ours, expected in zip(permuted, differentiate(bound, pairs), strict=True):
        torch.testing.assert_close(ours, expected[order])


@every_case
def test_pairs_are_independent_unless_the_whole_batch_is_declared(batch, name, options):
    bound, pairs = bind_objective(name, options), batch()
    whole = differentiate(bound, pairs)
    parts = [
        differentiate(bound, rearrange(pairs, lambda column, part=part: column[part]))
        for part in (slice(0, 2), slice(2, 6))
    ]
    for together, *apart in zip(whole, *parts, strict=True):
        separable = torch.allclose(torch.cat(apart), together, rtol=1e-12, atol=0)
        assert separable == (Need.WHOLE_BATCH not in bound.needs)


def zero(p):
    return 0 * p.l_w


def half(p):
    return np.full_like(p.l_w, 0.5)


# Loss, and gradient over beta in l_w and l_l (up to its sign), as beta goes to 0.
AT_BETA_ZERO = {
    "adadpo": ({}, log(2), lambda p: np.minimum(2, np.exp(p.q_w - p.q_l)) / 2, half),
    "apo_zero": ({}, 1, lambda p: half(p) / 2, lambda p: half(p) / 2),
    "bdpo": ({}, log(2), lambda p: p.a_w / 2, lambda p: p.a_l / 2),
    "bounded_dpo": ({}, log(2), half, lambda p: 0.5 / (1 + np.exp(-p.d_l))),
    "bpo": ({}, log(2), lambda p: (p.d_w < -0.3 * p.d_l) / 2, lambda p: 0.3 * (p.d_w > -0.3 * p.d_l) / 2),
    "constrained_dpo": ({}, log(2), half, half),
    "cpo": ({"alpha": 0.0}, log(2), half, half),
    "dpo": ({}, log(2), half, half),
    "dpop": ({"lam": 3.0}, log(2), lambda p: np.where(p.d_w < 0, 4, 1) / 2, half),
    "dr_dpo": ({}, log(2), half, half),
    "kldpo": ({}, log(2), half, half),
    "robust_dpo": ({"label_smoothing": 0.2}, log(2), lambda p: half(p) / 0.6, lambda p: half(p) / 0.6),
    "safedpo": ({"delta": 0.0}, log(2), half, half),
    "simpo": ({}, log(2), lambda p: 0.5 / p.n_w, lambda p: 0.5 / p.n_l),
    "wdpo": ({}, log(2), half, half),
}


def test_every_objective_has_its_limit():
    # IPO's target 1 / (2 beta) goes to infinity, ORPO has no beta: below.
    assert sorted([*AT_BETA_ZERO, "ipo", "orpo"]) == objective_names()


@pytest.mark.parametrize("name", AT_BETA_ZERO)
def test_limit_as_beta_goes_to_zero(batch, name):
    options, value, *slopes = AT_BETA_ZERO[name]
    beta = 1e-9
    pairs = batch()
    losses, chosen, rejected = evaluate(name, pairs, beta=beta, **options)
    expected = [slope(Pairs.of(pairs)) for slope in slopes]
    np.testing.assert_allclose(losses.numpy(), value, rtol=1e-6)
    np.testing.assert_allclose(-chosen.numpy() / beta, expected[0], rtol=1e-6)
    np.testing.assert_allclose(rejected.numpy() / beta, expected[1], rtol=1e-6)


def test_ipo_as_beta_goes_to_zero_pulls_by_one_over_beta(batch):
    pairs, beta = batch(), 1e-9
    losses, chosen, rejected = evaluate("ipo", pairs, beta=beta)
    torch.testing.assert_close(4 * beta**2 * losses, torch.ones(6).double())
    torch.testing.assert_close(beta * chosen, -1 / pairs.chosen_tokens)
    torch.testing.assert_close(beta * rejected, 1 / pairs.rejected_tokens)


def test_orpo_as_lambda_goes_to_zero_is_supervised_training(batch):
    pairs = batch()
    losses, chosen, rejected = evaluate("orpo", pairs, lam=0.0)
    torch.testing.assert_close(losses.mean(), -pairs.policy_chosen.sum() / pairs.chosen_tokens.sum())
    torch.testing.assert_close(chosen, -1 / pairs.step_chosen_tokens)
    assert not rejected.any()


# With the labels exchanged, -log sigma(u) becomes -log sigma(-u), which is u more.
MIRRORED = {
    "bdpo": ({}, lambda p: -0.1 * (p.a_w * p.d_w - p.a_l * p.d_l)),
    "bdpo, gradient": ({"placement": "gradient"}, lambda p: -0.1 * p.h),
    "constrained_dpo": ({}, lambda p: -0.1 * p.h),
    "cpo": ({"alpha": 0.0}, lambda p: -0.1 * (p.l_w - p.l_l)),
    "dpo": ({}, lambda p: -0.1 * p.h),
    "dpo, smoothed": ({"label_smoothing": 0.2}, lambda p: -(1 - 2 * 0.2) * 0.1 * p.h),
    "ipo": ({}, lambda p: -2 / 0.1 * (p.d_w / p.n_w - p.d_l / p.n_l)),
    "robust_dpo": ({}, lambda p: -0.1 * p.h / (1 - 2 * 0.1)),
    "safedpo": ({}, lambda p: -(0.1 * p.h - 10 * (p.u_l - p.u_w))),
    "simpo": ({"gamma_beta_ratio": 0.0}, lambda p: -2.0 * (p.q_w - p.q_l)),
}


@pytest.mark.parametrize("case", MIRRORED)
def test_exchanging_the_labels_mirrors_the_loss(batch, case):
    options, difference = MIRRORED[case]
    bound, pairs = bind_objective(case.split(",")[0], options), batch()
    ours = bound.loss(pairs) - bound.loss(mirror(pairs))
    np.testing.assert_allclose(ours.numpy(), difference(Pairs.of(pairs)), rtol=1e-9, atol=1e-12)


def test_apo_zero_of_both_orders_adds_up_to_two(batch):
    bound, pairs = bind_objective("apo_zero", {}), batch()
    torch.testing.assert_close(bound.loss(pairs) + bound.loss(mirror(pairs)), torch.full((6,), 2.0).double())


def test_smoothing_is_exchanging_that_share_of_the_labels(batch):
    pairs, plain = batch(), bind_objective("dpo", {})
    mixed = 0.8 * plain.loss(pairs) + 0.2 * plain.loss(mirror(pairs))
    torch.testing.assert_close(bind_objective("dpo", {"label_smoothing": 0.2}).loss(pairs), mixed)


def test_robust_dpo_undoes_flipped_labels_in_expectation(batch):
    """With a share e of labels flipped its expectation is DPO's loss of the true ones."""
    pairs, robust = batch(), bind_objective("robust_dpo", {"label_smoothing": 0.2})
    expectation = 0.8 * robust.loss(pairs) + 0.2 * robust.loss(mirror(pairs))
    torch.testing.assert_close(expectation, bind_objective("dpo", {}).loss(pairs))

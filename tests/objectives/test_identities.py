"""Where one objective becomes another, and what each is worth at the start, with the policy at the reference."""

from dataclasses import replace
from math import exp, log

import pytest
import torch

from bdpo_pipeline.objectives import bind_objective

from .cases import at_start, evaluate, mirror, rearrange

SAME_AS_DPO = [
    ("robust_dpo", {"label_smoothing": 0.0}),
    ("dpop", {"lam": 0.0}),
    ("safedpo", {"delta": 0.0}),
    ("wdpo", {"rho": 0.0}),
    ("constrained_dpo", {}),
]


def six(value):
    return torch.full((6,), value, dtype=torch.float64)


def assert_same(ours, theirs, **tolerance):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize(("name", "options"), SAME_AS_DPO)
def test_without_its_own_part_it_is_dpo(batch, name, options):
    assert_same(evaluate(name, batch(), beta=0.2, **options), evaluate("dpo", batch(), beta=0.2))


@pytest.mark.parametrize("placement", ["reward", "gradient"])
def test_bdpo_with_coefficients_of_one_is_dpo(batch, placement):
    pairs = batch(chosen_coefficient=six(1.0), rejected_coefficient=six(1.0))
    assert_same(evaluate("bdpo", pairs, placement=placement), evaluate("dpo", pairs))


def test_safedpo_without_a_difference_in_safety_is_dpo(batch):
    pairs = batch(chosen_unsafe=six(0.0), rejected_unsafe=six(0.0))
    assert_same(evaluate("safedpo", pairs), evaluate("dpo", pairs))


def test_safedpo_aims_at_delta_over_beta_nats(batch):
    """Past the margin it is DPO past zero."""
    pairs = batch(chosen_unsafe=six(0.0), rejected_unsafe=six(1.0))
    ahead = replace(pairs, policy_chosen=pairs.policy_chosen + 100)
    assert_same(evaluate("safedpo", ahead, beta=0.1, delta=10.0), evaluate("dpo", pairs, beta=0.1))
    # With the defaults it starts at log(1 + e^10), where the others start at log 2.
    torch.testing.assert_close(evaluate("safedpo", at_start(pairs))[0], six(log(1 + exp(10))))


@pytest.mark.parametrize("name", ["dr_dpo", "kldpo"])
def test_over_a_single_pair_the_batch_objectives_are_dpo(batch, name):
    assert_same(evaluate(name, batch(1)), evaluate("dpo", batch(1)))


@pytest.mark.parametrize("options", [{}, {"normalise": True}])
def test_kldpo_of_equal_losses_is_dpo(batch, options):
    alike = rearrange(batch(1), lambda column: column.expand(6))
    assert_same(evaluate("kldpo", alike, **options), evaluate("dpo", alike))


def test_dr_dpo_goes_to_the_mean_as_its_temperature_grows(batch):
    losses, *gradients = evaluate("dr_dpo", batch(), beta_prime=1e7)
    plain, *plain_gradients = evaluate("dpo", batch())
    torch.testing.assert_close(losses.mean(), plain.mean(), rtol=1e-6, atol=0)
    assert_same(gradients, plain_gradients, rtol=1e-6, atol=0)


def test_dr_dpo_leaves_the_mean_by_half_the_variance_over_its_temperature(batch):
    plain = evaluate("dpo", batch())[0]
    gap = plain.mean() - evaluate("dr_dpo", batch(), beta_prime=1e4)[0].mean()
    torch.testing.assert_close(gap, plain.var(correction=0) / 2e4, rtol=1e-3, atol=0)


def test_dr_dpo_goes_to_the_easiest_pair_as_its_temperature_falls(batch):
    plain = evaluate("dpo", batch())[0]
    losses, chosen, _ = evaluate("dr_dpo", batch(), beta_prime=1e-6)
    torch.testing.assert_close(losses, plain.min().expand(6), rtol=0, atol=1e-5)
    assert chosen.nonzero().tolist() == [[plain.argmin()]]


def test_the_two_batch_objectives_weigh_hard_pairs_in_opposite_ways(batch):
    plain, chosen, _ = evaluate("dpo", batch())
    order = plain.argsort()
    by_dr = (evaluate("dr_dpo", batch())[1] / chosen)[order]
    by_kl = (evaluate("kldpo", batch())[1] / chosen)[order]
    assert by_dr.diff().lt(0).all()
    assert by_kl.diff().gt(0).all()


def test_kldpo_weighs_no_pair_more_than_ten_times_unless_normalised(batch):
    pairs = batch()
    hard = replace(pairs, policy_rejected=pairs.policy_rejected + torch.tensor([500.0, 0, 0, 0, 0, 0]))
    plain, chosen, _ = evaluate("dpo", hard)
    losses, weighted, _ = evaluate("kldpo", hard)
    torch.testing.assert_close(losses[0], 10 * plain[0])
    torch.testing.assert_close(weighted[0], 10 * chosen[0])
    weights = evaluate("kldpo", hard, normalise=True)[0] / plain
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0).double())


def test_dpop_is_dpo_where_the_chosen_response_has_not_fallen(batch):
    pairs = batch()
    risen = replace(pairs, policy_chosen=pairs.reference_chosen + torch.arange(6))
    assert_same(evaluate("dpop", risen, beta=0.1), evaluate("dpo", risen, beta=0.1))


def test_dpop_penalises_a_fallen_chosen_response(batch):
    pairs = batch()
    fallen = replace(pairs, policy_chosen=pairs.reference_chosen - 0.1)
    assert (evaluate("dpop", fallen, beta=0.1)[0] > evaluate("dpo", fallen, beta=0.1)[0]).all()


def test_bounded_dpo_goes_to_dpo_as_lam_goes_to_one(batch):
    # The reference's share 1 - lam is felt once the policy has fallen by log(1 - lam), 14 nats: here it has not.
    pairs = batch()
    near = replace(pairs, policy_rejected=pairs.reference_rejected + torch.linspace(-3, 10, 6))
    assert_same(evaluate("bounded_dpo", near, lam=0.999999), evaluate("dpo", near), rtol=1e-4, atol=1e-7)


def test_bounded_dpo_cannot_be_lowered_without_the_chosen_response(batch):
    pairs = at_start(batch())
    losses = evaluate("bounded_dpo", replace(pairs, policy_rejected=pairs.policy_rejected - 1e4))[0]
    # M >= log(1 - lam), so at D_w = 0 the loss is at least log(1 + (1 - lam)^beta).
    torch.testing.assert_close(losses, six(log(1 + 0.5**0.1)))


def test_bdpo_placements_have_equal_gradients_where_log_ratios_are_zero(batch):
    pairs = at_start(batch())
    assert_same(evaluate("bdpo", pairs), evaluate("bdpo", pairs, placement="gradient"))


def test_gradient_placement_has_the_value_of_dpo_and_scaled_gradients(batch):
    pairs = batch()
    losses, chosen, rejected = evaluate("bdpo", pairs, placement="gradient")
    plain = evaluate("dpo", pairs)
    scaled = (plain[0], plain[1] * pairs.chosen_coefficient, plain[2] * pairs.rejected_coefficient)
    assert_same((losses, chosen, rejected), scaled)


@pytest.mark.parametrize("placement", ["reward", "gradient"])
def test_coefficients_receive_no_gradient(batch, placement):
    coefficients = [six(1.0).requires_grad_() for _ in range(2)]
    policy = batch().policy_chosen.clone().requires_grad_()
    pairs = batch(
        policy_chosen=policy, chosen_coefficient=coefficients[0], rejected_coefficient=coefficients[1]
    )
    bind_objective("bdpo", {"placement": placement}).loss(pairs).sum().backward()
    assert all(c.grad is None for c in coefficients)
    assert policy.grad.abs().min() > 0


@pytest.mark.parametrize("name", ["simpo", "cpo", "orpo"])
def test_objectives_without_a_reference_do_not_see_it(batch, name):
    other = batch(reference_chosen=torch.randn(6).double(), reference_rejected=torch.randn(6).double())
    assert all(torch.equal(a, b) for a, b in zip(evaluate(name, batch()), evaluate(name, other), strict=True))


# Loss, and gradient in l_w and l_l, where the policy is the reference; of adadpo and bdpo the value alone.
STARTS = {
    "dpo": ({}, log(2), 0.05, 0.05),
    "dpo, smoothed": ({"label_smoothing": 0.2}, log(2), 0.03, 0.03),
    "robust_dpo": ({"label_smoothing": 0.2}, log(2), 0.05 / 0.6, 0.05 / 0.6),
    "ipo": ({"average": False}, 25.0, 10.0, 10.0),
    "apo_zero": ({}, 1.0, 0.025, 0.025),
    "bounded_dpo": ({"lam": 0.3}, log(2), 0.05, 0.3 * 0.05),
    # Each side has half of it at the tie.
    "bpo": ({"alpha": 0.3}, log(2), 0.025, 0.3 * 0.025),
    # On the kink of the penalty, where its slope counts as 0: the first step is DPO's.
    "dpop": ({"beta": 0.1, "lam": 50.0}, log(2), 0.05, 0.05),
    "dr_dpo": ({}, log(2), 0.05, 0.05),
    "kldpo": ({}, log(2), 0.05, 0.05),
}


@pytest.mark.parametrize("case", STARTS)
def test_start(batch, case):
    options, *expected = STARTS[case]
    signs = (1, -1, 1)
    found = evaluate(case.split(",")[0], at_start(batch()), **options)
    for ours, sign, value in zip(found, signs, expected, strict=True):
        torch.testing.assert_close(ours, six(sign * value))


@pytest.mark.parametrize("name", ["adadpo", "bdpo"])
def test_start_of_objectives_that_weigh_the_responses(batch, name):
    torch.testing.assert_close(evaluate(name, at_start(batch()))[0], six(log(2)))


def test_bdpo_mirrors_its_gradients(batch):
    """With everything exchanged, the gradients of both orders add up to beta times the coefficients."""
    pairs = batch()
    _, chosen, rejected = evaluate("bdpo", pairs)
    _, mirrored_chosen, mirrored_rejected = evaluate("bdpo", mirror(pairs))
    torch.testing.assert_close(mirrored_rejected - chosen, 0.1 * pairs.chosen_coefficient)
    torch.testing.assert_close(rejected - mirrored_chosen, 0.1 * pairs.rejected_coefficient)


def test_known_margins(batch):
    """With beta 0.1 and log-ratio differences of 0, 10, 20 DPO's loss is -log sigma of 0, 1, 2."""
    zero = torch.zeros(3, dtype=torch.float64)
    margins = torch.tensor([0.0, 10.0, 20.0], dtype=torch.float64)
    pairs = batch(
        3, policy_chosen=margins, policy_rejected=zero, reference_chosen=zero, reference_rejected=zero
    )
    torch.testing.assert_close(evaluate("dpo", pairs)[0], torch.log1p(torch.exp(-margins / 10)))

"""Coefficients against the table of docs/method.md, section 4, and over extreme inputs."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bdpo_pipeline.objectives.comprehension import pointwise_mutual_information
from bdpo_pipeline.objectives.weighting import (
    Coefficients,
    Weighting,
    compute_coefficients,
    measure_constants,
    reverse_coefficients,
    shuffle_coefficients,
)

from .cases import evaluate

CHOSEN = torch.tensor([0.5, 0.2, 0.9, 0.4], dtype=torch.float64)
REJECTED = torch.tensor([0.5, 0.6, 0.3, 0.8], dtype=torch.float64)
SETTINGS = ("full", "bw_only", "sf_only", "none")
WEIGHTINGS = ("inverse", "softmax")
information = st.lists(st.floats(-20, 20), min_size=4, max_size=4).map(
    lambda v: torch.tensor(v, dtype=torch.float64)
)


def coefficients(chosen=CHOSEN, rejected=REJECTED, **choices) -> Coefficients:
    """Of pairs that are all training pairs."""
    weighting = Weighting(**choices)
    return compute_coefficients(chosen, rejected, weighting, measure_constants(chosen, rejected, weighting))


def test_full_is_inverse_information_times_harmonic_mean():
    a = coefficients()
    harmonic = 2 / (1 / CHOSEN + 1 / REJECTED)
    torch.testing.assert_close(a.chosen, harmonic / CHOSEN)
    torch.testing.assert_close(a.rejected, harmonic / REJECTED)
    torch.testing.assert_close(a.chosen + a.rejected, torch.full((4,), 2.0, dtype=torch.float64))
    # The response that is comprehended more gets the lower weight.
    assert (a.chosen < a.rejected).tolist() == (CHOSEN > REJECTED).tolist()


def test_bw_only_is_inverse_information_times_one_constant():
    a = coefficients(setting="bw_only")
    constant = a.chosen * CHOSEN
    torch.testing.assert_close(constant, constant[:1].expand(4))
    torch.testing.assert_close(a.rejected * REJECTED, constant)
    assert (a.chosen + a.rejected).mean().item() == pytest.approx(2)


def test_sf_only_is_the_harmonic_mean_over_its_mean():
    a = coefficients(setting="sf_only")
    harmonic = 2 / (1 / CHOSEN + 1 / REJECTED)
    torch.testing.assert_close(a.chosen, harmonic / harmonic.mean())
    torch.testing.assert_close(a.rejected, a.chosen)


def test_full_is_bw_times_sf_up_to_a_constant():
    bw = coefficients(setting="bw_only")
    sf = coefficients(setting="sf_only")
    full = coefficients()
    ratio = full.chosen / (bw.chosen * sf.chosen)
    torch.testing.assert_close(ratio, ratio[:1].expand(4))


def test_none_is_dpo():
    a = coefficients(setting="none")
    assert torch.equal(a.chosen, torch.ones(4, dtype=torch.float64))
    assert torch.equal(a.rejected, a.chosen)


@pytest.mark.parametrize("placement", ["reward", "gradient"])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_equal_information_is_dpo(batch, placement, weighting):
    information = torch.linspace(-0.5, 2, 6).double()
    a = coefficients(information, information, weighting=weighting)
    pairs = batch(chosen_coefficient=a.chosen, rejected_coefficient=a.rejected)
    for ours, theirs in zip(
        evaluate("bdpo", pairs, placement=placement), evaluate("dpo", pairs), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@given(information, information, st.sampled_from(SETTINGS), st.sampled_from(WEIGHTINGS))
def test_the_coefficients_of_training_pairs_are_one_on_average(chosen, rejected, setting, kind):
    a = coefficients(chosen, rejected, setting=setting, weighting=kind)
    assert torch.cat([a.chosen, a.rejected]).mean().item() == pytest.approx(1)


def test_l2_scale_keeps_the_norm():
    a = coefficients(scale="l2")
    torch.testing.assert_close(a.chosen**2 + a.rejected**2, torch.full((4,), 2.0, dtype=torch.float64))
    harmonic = coefficients()
    torch.testing.assert_close(a.chosen / a.rejected, harmonic.chosen / harmonic.rejected)


def test_softmax_weighting_is_a_sigmoid_of_the_standardised_difference():
    a = coefficients(weighting="softmax")
    difference = (CHOSEN - REJECTED).numpy()
    expected = 1 / (1 + np.exp(difference / difference.std()))
    np.testing.assert_allclose(a.chosen_share.numpy(), expected)


@given(information, information, st.sampled_from(SETTINGS), st.sampled_from(WEIGHTINGS))
def test_any_information_gives_positive_finite_coefficients(chosen, rejected, setting, kind):
    a = coefficients(chosen, rejected, setting=setting, weighting=kind)
    for values in (a.chosen, a.rejected):
        assert torch.isfinite(values).all()
        assert (values > 0).all()
    assert (a.chosen_share >= 0.1).all()
    assert (a.chosen_share <= 0.9).all()
    assert torch.equal(a.floored, (chosen < 0.01) | (rejected < 0.01))


@given(information, information)
def test_swapping_the_responses_swaps_the_coefficients(chosen, rejected):
    a, b = coefficients(chosen, rejected), coefficients(rejected, chosen)
    torch.testing.assert_close(a.chosen, b.rejected)
    torch.testing.assert_close(a.rejected, b.chosen)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("kind", WEIGHTINGS)
def test_a_pair_gets_the_coefficients_of_its_own_information_and_the_training_pairs_constants(setting, kind):
    """Alone or among others: validation pairs shape nothing, and a pair may be scored again later."""
    weighting = Weighting(setting=setting, weighting=kind)
    constants = measure_constants(CHOSEN, REJECTED, weighting)
    together = compute_coefficients(CHOSEN, REJECTED, weighting, constants)
    alone = compute_coefficients(CHOSEN[2:3], REJECTED[2:3], weighting, constants)
    assert torch.equal(alone.chosen, together.chosen[2:3])
    assert torch.equal(alone.rejected, together.rejected[2:3])


def test_constants_are_those_of_the_floored_training_pairs():
    chosen, rejected = torch.tensor([-3.0, 0.5]).double(), torch.tensor([0.2, 0.5]).double()
    found = measure_constants(chosen, rejected, Weighting(floor=0.1))
    harmonic = np.array([2 / (1 / 0.1 + 1 / 0.2), 0.5])
    assert found.tau == pytest.approx(np.std([0.1 - 0.2, 0.0]))
    assert found.mean_harmonic == pytest.approx(harmonic.mean())
    assert found.mean_inverse_harmonic == pytest.approx((1 / harmonic).mean())


def test_there_must_be_a_training_pair():
    with pytest.raises(ValueError, match="no training pair to take the constants"):
        measure_constants(torch.tensor([]), torch.tensor([]), Weighting())


def test_shuffled_permutes_within_each_split():
    generator = torch.Generator().manual_seed(1)
    chosen, rejected = torch.rand(2, 40, dtype=torch.float64, generator=generator) + 0.1
    training = torch.arange(40) < 30
    a = coefficients(chosen, rejected)
    b = shuffle_coefficients(a, training, seed=3)
    for part in (training, ~training):
        assert torch.equal(a.chosen[part].sort().values, b.chosen[part].sort().values)
    assert not torch.equal(a.chosen, b.chosen)
    torch.testing.assert_close(b.chosen + b.rejected, torch.full((40,), 2.0, dtype=torch.float64))


def test_reversed_swaps():
    a = coefficients()
    b = reverse_coefficients(a)
    assert torch.equal(b.chosen, a.rejected)
    assert torch.equal(b.rejected, a.chosen)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"setting": "half"}, "weighting.setting = 'half': there are full, bw_only, sf_only, none"),
        ({"floor": 0.0}, "weighting.floor = 0.0: it must be positive"),
    ],
)
def test_unusable_choices_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        coefficients(**options)


def test_pointwise_mutual_information_averages_to_the_exact_mutual_information():
    """Over a joint distribution small enough to enumerate, E[i(x; y)] = I(X; Y)."""
    joint = np.random.default_rng(0).dirichlet(np.ones(12)).reshape(3, 4)
    x, y = joint.sum(1, keepdims=True), joint.sum(0, keepdims=True)
    exact = (joint * np.log(joint / (x * y))).sum()
    conditional = torch.tensor(np.log(joint / x)).flatten()
    marginal = torch.tensor(np.log(np.broadcast_to(y, joint.shape))).flatten()
    pmi = pointwise_mutual_information(conditional, marginal, torch.ones(12), normalise="none")
    assert (pmi.numpy() * joint.flatten()).sum() == pytest.approx(exact)
    per_token = pointwise_mutual_information(conditional, marginal, torch.full((12,), 4), normalise="token")
    torch.testing.assert_close(per_token, pmi / 4)

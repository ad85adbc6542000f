"""Extreme pairs through comprehension, coefficients and every objective: all finite, in range, and never a flipped sign."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdpo_pipeline.objectives import PairBatch, bind_objective
from bdpo_pipeline.objectives.comprehension import pointwise_mutual_information
from bdpo_pipeline.objectives.weighting import Weighting, compute_coefficients, measure_constants

from .cases import CASES, COLUMNS, OPTIONS, differentiate, label, rearrange
from .formulas import FORMULAS, Pairs

PAIRS = 3
logps = st.one_of(st.sampled_from([-1e4, -1.0, 0.0]), st.floats(-1e4, 0, width=32))
lengths = st.one_of(st.sampled_from([1, 4000]), st.integers(1, 4000))
weightings = st.builds(
    Weighting,
    setting=st.sampled_from(["full", "bw_only", "sf_only", "none"]),
    weighting=st.sampled_from(["inverse", "softmax"]),
    scale=st.sampled_from(["harmonic", "l2"]),
)


@st.composite
def extreme_pairs(draw):
    """Pairs with log-probs to -1e4 and 1 to 4,000 tokens, some of two equal responses; and the marginals of both responses."""

    def columns(values, count):
        drawn = draw(st.lists(values, min_size=count * PAIRS, max_size=count * PAIRS))
        return torch.tensor(drawn, dtype=torch.float64).view(count, PAIRS).unbind()

    both = [*columns(logps, 6), *columns(lengths, 2), *columns(st.sampled_from([0, 1]), 2)]
    chosen, rejected = both[::2], both[::2] if draw(st.booleans()) else both[1::2]
    names = ("policy_{}", "reference_{}", "{}_marginal", "{}_tokens", "{}_unsafe")
    sensitivities = columns(st.floats(0, 1e6), 2)
    found = {
        "step_chosen_tokens": chosen[3].mean().expand(PAIRS),
        **{name.format("chosen"): column for name, column in zip(names, chosen, strict=True)},
        **{name.format("rejected"): column for name, column in zip(names, rejected, strict=True)},
        **dict(zip(("chosen_sensitivity", "rejected_sensitivity"), sensitivities, strict=True)),
    }
    unset = torch.full((PAIRS,), torch.nan)
    pairs = PairBatch(**{name: found.get(name, unset) for name in COLUMNS})
    return pairs, (found["chosen_marginal"], found["rejected_marginal"])


def with_coefficients(pairs, marginals, weighting):
    """The coefficients of these pairs, by their mutual information, in the pairs' own precision."""
    information = [
        pointwise_mutual_information(conditional, marginal, tokens)
        for conditional, marginal, tokens in (
            (pairs.reference_chosen, marginals[0].to(pairs.reference_chosen), pairs.chosen_tokens),
            (pairs.reference_rejected, marginals[1].to(pairs.reference_chosen), pairs.rejected_tokens),
        )
    ]
    found = compute_coefficients(*information, weighting, measure_constants(*information, weighting))
    return replace(pairs, chosen_coefficient=found.chosen, rejected_coefficient=found.rejected), found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(drawn=extreme_pairs(), weighting=weightings)
@settings(deadline=None)
def test_coefficients_are_finite_positive_and_in_range(dtype, drawn, weighting):
    pairs = rearrange(drawn[0], lambda column: column.to(dtype))
    pairs, found = with_coefficients(pairs, drawn[1], weighting)
    assert found.chosen.dtype == dtype
    for a in (found.chosen, found.rejected):
        assert torch.isfinite(a).all()
        assert (a > 0).all()
    assert ((found.chosen_share >= 0.1 - 1e-7) & (found.chosen_share <= 0.9 + 1e-7)).all()
    if weighting.setting == "full":
        norm = 1 if weighting.scale == "harmonic" else 2
        total = found.chosen**norm + found.rejected**norm
        torch.testing.assert_close(total, torch.full_like(total, 2))


@pytest.mark.parametrize("name", OPTIONS)
@given(drawn=extreme_pairs(), weighting=weightings)
@settings(deadline=None)
def test_loss_and_gradient_are_finite_and_no_sign_flips(name, drawn, weighting):
    for options, dtype in product(OPTIONS[name], (torch.float32, torch.float64)):
        bound = bind_objective(name, options)
        pairs = rearrange(drawn[0], lambda column, dtype=dtype: column.to(dtype))
        pairs, _ = with_coefficients(pairs, drawn[1], weighting)
        losses, chosen, rejected = differentiate(bound, pairs)
        for values in (losses, chosen, rejected, *bound.rewards(pairs)):
            assert values.dtype == dtype
            assert torch.isfinite(values).all()
        if not turns_back(bound):
            assert (chosen <= 0).all()
            assert (rejected >= 0).all()
        elif dtype == torch.float64:  # Where it turns, fp32 rounds to either side.
            theirs = np.array(FORMULAS[name].gradient(Pairs.of(pairs), **bound.options))
            ours, clear = np.array([chosen.numpy(), rejected.numpy()]), np.abs(theirs) > 1e-9
            assert np.array_equal(np.sign(ours[clear]), np.sign(theirs[clear]))


def test_the_exceptions_do_turn_back(batch):
    """Both signs occur on each side, or the test above would have no exception to make."""
    for name, options in (("ipo", {"average": False}), ("dpo", {"label_smoothing": 0.2})):
        bound = bind_objective(name, options)
        assert turns_back(bound)
        for gradient in differentiate(bound, batch(40))[1:]:
            assert set(gradient.sign().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "options"), CASES, ids=label)
def test_a_certain_response_leaves_all_finite(batch, name, options, dtype):
    """Probability 1 per token, or so near that its odds overflow."""
    near = torch.tensor([0.0, -1e-30, -1e-12, -1e-8, -1e-6, -1e-4])
    for certain in ({"policy_chosen": near}, {"policy_chosen": near, "policy_rejected": near.flip(0)}):
        pairs = rearrange(batch(**certain), lambda column: column.to(dtype))
        for values in differentiate(bind_objective(name, options), pairs):
            assert torch.isfinite(values).all()


def test_odds_of_a_nearly_certain_response_keep_their_digits(batch):
    """1 - p of p = 1 - 1e-5 has two digits left in fp32, were p computed first."""
    pairs = batch()
    pairs = replace(pairs, policy_chosen=-1e-5 * pairs.chosen_tokens)
    bound = bind_objective("orpo", {"lam": 1.0})
    exact = differentiate(bound, pairs)
    for ours, expected in zip(differentiate(bound, rearrange(pairs, torch.Tensor.float)), exact, strict=True):
        torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-9)


def turns_back(bound):
    """Whether the margin is pulled back beyond a target, as published: the sign is then that of the formula."""
    return bound.name == "ipo" or (bound.options.get("label_smoothing", 0) > 0 and bound.name != "robust_dpo")

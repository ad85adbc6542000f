"""Holm's correction and the exact sign-flip test."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test

from bdpo_pipeline.statistics import holm, mcnemar_exact, sign_flip_exact


def test_holm_of_the_textbook_case() -> None:
    # Four p-values, as worked through in Holm (1979): each times the number of hypotheses that are left, never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


p_values = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(p_values)
def test_holm_stands_between_no_correction_and_bonferroni(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(one <= other <= min(1, one * len(p)) + 1e-12 for one, other in zip(p, adjusted, strict=True))
    assert min(adjusted) == pytest.approx(min(1, len(p) * min(p)))


@given(p_values, st.randoms(use_true_random=False))
def test_holm_follows_the_order_of_its_p_values(p: list[float], random) -> None:
    order = list(range(len(p)))
    random.shuffle(order)
    shuffled = holm([p[place] for place in order])
    assert shuffled == pytest.approx([holm(p)[place] for place in order])


def test_what_was_not_tested_does_not_count() -> None:
    adjusted = holm([0.01, float("nan"), 0.04])
    assert adjusted[0] == pytest.approx(0.02)
    assert np.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.04)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 10))
def test_with_one_seed_it_is_mcnemar(gained: int, lost: int, same: int) -> None:
    differences = [1] * gained + [-1] * lost + [0] * same
    assert sign_flip_exact(differences) == pytest.approx(mcnemar_exact(gained, lost))


@given(st.lists(st.integers(-3, 3), max_size=9))
def test_it_counts_every_way_to_flip_the_signs(differences: list[int]) -> None:
    sums = [
        sum(s * d for s, d in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=len(differences))
    ]
    far = sum(abs(total) >= abs(sum(differences)) for total in sums)
    assert sign_flip_exact(differences) == pytest.approx(far / len(sums))


def test_it_is_scipys_permutation_test() -> None:
    rng = np.random.default_rng(5)
    first, second = rng.binomial(3, 0.6, 60), rng.binomial(3, 0.45, 60)

    def statistic(x, y, axis):
        return np.mean(x - y, axis=axis)

    sampled = permutation_test(
        (first, second),
        statistic,
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=True,
        rng=np.random.default_rng(1),
    )
    # The standard error of a p-value near 0.01 from 20,000 permutations is 0.0007.
    assert sign_flip_exact(first - second) == pytest.approx(sampled.pvalue, abs=0.003)

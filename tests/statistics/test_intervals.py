import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from bdpo_pipeline.statistics import (
    clustered_mean,
    clustered_proportion,
    mcnemar_exact,
    wilson_interval,
)


def wilson_by_hand(successes: int, trials: int, z: float = 1.959963984540054) -> tuple[float, float]:
    p = successes / trials
    centre = p + z**2 / (2 * trials)
    half = z * math.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    return (centre - half) / (1 + z**2 / trials), (centre + half) / (1 + z**2 / trials)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_the_published_formula(case: tuple[int, int]) -> None:
    successes, trials = case
    value, low, high = wilson_interval(successes, trials)
    assert (low, high) == pytest.approx(wilson_by_hand(successes, trials), abs=1e-9)
    assert low <= value <= high


def test_wilson_of_the_textbook_case() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263 gives 0.2553 to 0.3662.
    assert wilson_interval(81, 263)[1:] == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_wilson_of_no_trials_knows_nothing() -> None:
    assert all(math.isnan(number) for number in wilson_interval(0, 0))


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="greater than n"):
        wilson_interval(5, 4)
    with pytest.raises(ValueError, match="must be"):
        mcnemar_exact(-1, 4)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_a_binomial_test_of_one_half(gained: int, lost: int) -> None:
    p = mcnemar_exact(gained, lost)
    total = gained + lost
    tail = sum(math.comb(total, k) for k in range(min(gained, lost) + 1)) / 2**total
    assert p == pytest.approx(min(1.0, 2 * tail))
    assert p == mcnemar_exact(lost, gained)


def test_mcnemar_of_nothing_changed_is_one() -> None:
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(6, 0) == pytest.approx(2 * 0.5**6)


def draw_clusters(rng: np.random.Generator, prompts: int, size: int, spread: float) -> tuple[list, list]:
    """Values of which those of one prompt share most of their noise; their true mean is zero."""
    shared = rng.normal(0, spread, prompts)
    values = shared[:, None] + rng.normal(0, 0.3, (prompts, size))
    return list(values.ravel()), [prompt for prompt in range(prompts) for _ in range(size)]


def test_clustered_interval_covers_the_truth_where_the_plain_one_does_not() -> None:
    rng = np.random.default_rng(3)
    covered = naive = 0
    trials = 200
    for trial in range(trials):
        values, clusters = draw_clusters(rng, prompts=40, size=6, spread=1.0)
        _, low, high = clustered_mean(values, clusters, seed=trial, resamples=400)
        covered += low <= 0 <= high
        _, low, high = clustered_mean(values, range(len(values)), seed=trial, resamples=400)
        naive += low <= 0 <= high
    # 95 % asked; three standard errors of 200 trials are 4.6 points, and 40 prompts make it a little narrow.
    assert 0.89 <= covered / trials <= 0.99
    assert naive / trials < 0.75


def test_clustered_mean_of_unequal_clusters_is_the_plain_mean() -> None:
    values, clusters = [1.0, 2.0, 3.0, 10.0], ["a", "a", "a", "b"]
    assert clustered_mean(values, clusters, seed=1, resamples=50).value == pytest.approx(4.0)


def test_interval_is_repeatable_and_ignores_the_order_of_rows() -> None:
    values, clusters = draw_clusters(np.random.default_rng(1), prompts=20, size=3, spread=1.0)
    first = clustered_mean(values, clusters, seed=7, resamples=200)
    assert first == clustered_mean(values, clusters, seed=7, resamples=200)
    assert first != clustered_mean(values, clusters, seed=8, resamples=200)
    doubled = clustered_mean([2 * value for value in values], clusters, seed=7, resamples=200)
    assert doubled == pytest.approx(tuple(2 * number for number in first))


def test_one_prompt_gives_no_interval_and_no_spread_gives_a_point() -> None:
    value, low, high = clustered_mean([1.0, 3.0], ["a", "a"], seed=1)
    assert value == 2.0
    assert math.isnan(low)
    assert math.isnan(high)
    assert clustered_mean([2.0, 2.0, 2.0], ["a", "b", "b"], seed=1) == (2.0, 2.0, 2.0)


def test_bad_values_are_named() -> None:
    with pytest.raises(ValueError, match="value 1 is nan"):
        clustered_mean([1.0, float("nan")], ["a", "b"], seed=1)
    with pytest.raises(ValueError, match="2 values and 1 clusters"):
        clustered_mean([1.0, 2.0], ["a"], seed=1)


def test_proportion_is_wilson_where_each_prompt_has_one_pair() -> None:
    outcomes = [True] * 30 + [False] * 10
    expected = binomtest(30, 40).proportion_ci(method="wilson")
    assert clustered_proportion(outcomes, range(40), seed=1) == pytest.approx(
        (0.75, expected.low, expected.high)
    )


def test_proportion_widens_when_pairs_share_prompts() -> None:
    outcomes = [True] * 60 + [False] * 20
    alone = clustered_proportion(outcomes, range(80), seed=1)
    shared = clustered_proportion(outcomes, [pair // 4 for pair in range(80)], seed=1)
    assert shared.value == alone.value
    assert shared.high - shared.low > 1.5 * (alone.high - alone.low)


def test_unanimous_pairs_are_not_certainty() -> None:
    value, low, high = clustered_proportion([True] * 6, [0, 0, 1, 1, 2, 2], seed=1)
    assert (value, high) == (1.0, pytest.approx(1.0))
    assert low == pytest.approx(wilson_interval(3, 3).low)


def test_interval_of_unequal_clusters_is_that_of_drawing_whole_prompts() -> None:
    rng = np.random.default_rng(4)
    sizes = rng.integers(1, 12, 60)
    groups = [rng.normal(size / 6, 1, size) for size in sizes]
    values = np.concatenate(groups)
    clusters = np.repeat(np.arange(60), sizes)
    drawn = [np.concatenate([groups[i] for i in rng.integers(0, 60, 60)]).mean() for _ in range(4000)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    estimate = clustered_mean(list(values), list(clusters), seed=1, resamples=4000)
    # BCa shifts a percentile interval a little; a twelfth of its width is far less than what a wrong unit would do.
    assert estimate[1:] == pytest.approx((low, high), abs=(high - low) / 12)

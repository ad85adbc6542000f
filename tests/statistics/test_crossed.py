"""Means and differences over prompts and seeds: against scipy, against hand computation, and by what they cover."""

import math

import numpy as np
import pytest
from scipy.stats import bootstrap, f_oneway, spearmanr, t

from bdpo_pipeline.statistics import (
    mean_over_seeds,
    paired_difference,
    pool_seeds,
    rank_correlation,
    resample,
    sign_flip_exact,
    summarise,
    wilson_interval,
)

from ..study_tables import outcomes


def test_one_seed_is_the_plain_bootstrap() -> None:
    values = np.random.default_rng(2).normal(1, 2, 80)
    difference = paired_difference(values[:, None], np.zeros((80, 1)), range(80), seed=1, resamples=8000)
    plain = bootstrap(
        (values,), np.mean, method="percentile", n_resamples=8000, rng=np.random.default_rng(3)
    ).confidence_interval
    width = plain.high - plain.low
    # Student's t with 79 degrees of freedom is 1.6 % wider than the normal distribution.
    assert difference.value == pytest.approx(values.mean())
    assert difference[1:3] == pytest.approx(tuple(plain), abs=width / 25)
    assert mean_over_seeds(values[:, None], range(80), seed=1, resamples=8000) == pytest.approx(
        difference[:3]
    )


def test_its_p_value_is_that_of_a_paired_t_test_where_that_holds() -> None:
    values = np.random.default_rng(8).normal(0.25, 1, 120)
    found = paired_difference(values[:, None], np.zeros((120, 1)), range(120), seed=1, resamples=8000)
    size = values.mean() / (values.std(ddof=1) / math.sqrt(120))
    assert found.p == pytest.approx(2 * t.sf(abs(size), 119), abs=0.004)


def test_the_p_value_and_the_interval_say_the_same() -> None:
    rng = np.random.default_rng(11)
    said = set()
    for number in range(60):
        first = outcomes(rng, rng.normal(0, 1, 40), 0.5, 3, 0.2).astype(float)
        second = outcomes(rng, rng.normal(0, 1, 40), 0.0, 3, 0.2).astype(float)
        _, low, high, p = paired_difference(first, second, range(40), seed=number, resamples=500)
        said.add(p < 0.05)
        assert (p < 0.05) == (not low <= 0 <= high)
    assert said == {True, False}


def test_seeds_that_differ_more_than_prompts_explain_widen_it() -> None:
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 1, (100, 3))
    agree = noise - noise.mean(axis=0)
    apart = agree + np.array([-0.5, 0.0, 0.5])
    zero = np.zeros_like(agree)
    alike = paired_difference(agree, zero, range(100), seed=1)
    different = paired_difference(apart, zero, range(100), seed=1)
    assert different.value == pytest.approx(alike.value, abs=1e-12)
    # By hand: the standard error of three seeds half a unit apart is 0.5 / sqrt(3), and t with about 2 degrees of freedom is 4.3.
    between = math.sqrt(0.25 / 3 + agree.mean(axis=1).var(ddof=1) / 100 - noise.var() / 300)
    assert (different.high - different.low) / 2 == pytest.approx(4.3 * between, rel=0.12)
    assert alike.high - alike.low < 0.3
    own = mean_over_seeds(apart, range(100), seed=1)
    assert own.high - own.low == pytest.approx(alike.high - alike.low, rel=0.02)


def test_variances_are_those_of_the_analysis_of_variance() -> None:
    table = np.random.default_rng(6).normal(0, 1, (30, 2)) + np.array([0.0, 0.4])
    (crossed,) = resample([table], range(30), seed=1, resamples=50)
    between = f_oneway(*table)
    # F of a one-way analysis over prompts has all within a prompt below the line: the seeds and the rest.
    within = (30 * crossed.by_seed.var(ddof=1) + crossed.rest_variance * 60 * 29) / 30
    assert crossed.prompt_variance * 60 / within == pytest.approx(between.statistic)


def test_of_two_arms_the_pooled_spread_is_their_own() -> None:
    first, second = np.random.default_rng(3).normal(0, 1, (2, 40, 3)) + np.array([0.0, 0.3, 0.9])
    pooled = pool_seeds(np.array([first.mean(axis=0), second.mean(axis=0)]))
    assert pooled is not None
    (crossed,) = resample([first - second], range(40), seed=1, resamples=200)
    assert pooled.difference == pytest.approx((crossed.by_seed.var(ddof=1), 2))
    assert summarise([crossed], spread=pooled.difference) == pytest.approx(summarise([crossed]))


def test_the_spread_of_many_arms_is_that_of_their_seeds() -> None:
    rng = np.random.default_rng(5)
    found = [
        pool_seeds(rng.normal(0, 1, (7, 1)) + rng.normal(0, 2, (1, 3)) + rng.normal(0, 0.5, (7, 3)))
        for _ in range(4000)
    ]
    assert np.mean([pooled.difference.variance for pooled in found]) == pytest.approx(2 * 0.25, rel=0.05)
    assert np.mean([pooled.one_arm.variance for pooled in found]) == pytest.approx(4 + 0.25, rel=0.05)
    # What arms share is known from three seeds only, however many arms there are.
    assert np.median([pooled.one_arm.freedom for pooled in found]) == pytest.approx(2, rel=0.2)
    assert found[0].difference.freedom == 12


@pytest.mark.parametrize("shape", [(1, 3), (5, 1)])
def test_one_arm_or_one_seed_has_no_pooled_spread(shape: tuple[int, int]) -> None:
    assert pool_seeds(np.ones(shape)) is None


def test_items_of_one_prompt_are_drawn_together() -> None:
    rng = np.random.default_rng(1)
    shared = np.repeat(rng.normal(0, 1, 30), 4)[:, None]
    together = mean_over_seeds(shared, np.repeat(np.arange(30), 4).tolist(), seed=1)
    apart = mean_over_seeds(shared, range(120), seed=1)
    assert together.high - together.low == pytest.approx(2 * (apart.high - apart.low), rel=0.15)


def test_unanimous_outcomes_are_not_certainty() -> None:
    ones = np.ones((40, 2))
    low, high = mean_over_seeds(ones, range(40), seed=1, bounds=(0, 1))[1:]
    assert (low, high) == pytest.approx(wilson_interval(40, 40)[1:])
    same = paired_difference(ones, ones, range(40), seed=1, bounds=(-1, 1))
    unseen = wilson_interval(0, 40).high
    assert tuple(same) == pytest.approx((0, -unseen, unseen, 1))
    nothing = paired_difference(ones, ones, range(40), seed=1)
    assert tuple(nothing) == (0, 0, 0, 1)


def test_one_prompt_gives_no_interval() -> None:
    found = paired_difference(np.ones((2, 2)), np.zeros((2, 2)), ["a", "a"], seed=1)
    assert found.value == 1
    assert all(math.isnan(number) for number in found[1:])


def test_prompts_that_agree_leave_the_seeds() -> None:
    table = np.tile([0.0, 1.0, 2.0], (20, 1))
    found = paired_difference(table, np.zeros_like(table), range(20), seed=1)
    reach = t.ppf(0.975, 2) * 1 / math.sqrt(3)
    assert found[1:3] == pytest.approx((1 - reach, 1 + reach))
    assert found.p == pytest.approx(2 * t.sf(math.sqrt(3), 2))


def test_a_gap_between_different_prompts_adds_their_variances() -> None:
    rng = np.random.default_rng(7)
    first, second = rng.normal(1, 1, (90, 1)), rng.normal(0, 2, (60, 1))
    (one,) = resample([first], range(90), seed=1, resamples=3000)
    (two,) = resample([second], range(60), seed=2, resamples=3000)
    value, low, high, p = summarise([one], [two])
    assert value == pytest.approx(first.mean() - second.mean())
    error = math.sqrt(first.var(ddof=1) / 90 + second.var(ddof=1) / 60)
    assert (high - low) / 2 == pytest.approx(1.98 * error, rel=0.06)
    assert p < 0.05


def test_bad_tables_are_named() -> None:
    with pytest.raises(ValueError, match=r"shape \(3, 2\) for 2 items"):
        resample([np.zeros((3, 2))], ["a", "b"], seed=1, resamples=10)
    with pytest.raises(ValueError, match="not finite"):
        resample([np.array([[math.nan], [1.0]])], ["a", "b"], seed=1, resamples=10)


# False claims in 300 simulated comparisons of equal arms; benchmarks/statistics has more of them. Three standard errors of 5 % are 3.8.
@pytest.mark.parametrize(
    ("seeds", "spread", "most"), [(1, 0.0, 0.088), (3, 0.0, 0.088), (3, 0.3, 0.11), (2, 0.15, 0.11)]
)
def test_equal_arms_are_rarely_told_apart(seeds: int, spread: float, most: float) -> None:
    rng = np.random.default_rng(seeds)
    told = of_models = 0
    for number in range(300):
        prompts = rng.normal(0, 1.5, 80)
        first, second = (outcomes(rng, prompts, 0.0, seeds, spread).astype(float) for _ in range(2))
        told += paired_difference(first, second, range(80), seed=number, resamples=300).p < 0.05
        of_models += sign_flip_exact(np.rint((first - second).sum(axis=1))) < 0.05
    assert told / 300 <= most
    if spread >= 0.3:
        # What looks at prompts alone takes a lucky seed for a better arm.
        assert of_models / 300 > 0.09


def test_a_true_difference_is_covered_and_found() -> None:
    rng = np.random.default_rng(0)
    covered = found = 0
    truth = None
    for number in range(300):
        prompts = rng.normal(0, 1.5, 150)
        first = outcomes(rng, prompts, 1.2, 2, 0.0).astype(float)
        second = outcomes(rng, prompts, 0.0, 2, 0.0).astype(float)
        if truth is None:
            many = rng.normal(0, 1.5, 400_000)
            truth = float(outcomes(rng, many, 1.2, 1, 0).mean() - outcomes(rng, many, 0.0, 1, 0).mean())
        _, low, high, p = paired_difference(first, second, range(150), seed=number, resamples=300)
        covered += low <= truth <= high
        found += p < 0.05
    assert 0.91 <= covered / 300 <= 1
    assert found / 300 > 0.7


def test_rank_correlation_is_scipys() -> None:
    rng = np.random.default_rng(9)
    x = rng.normal(0, 1, 300)
    y = np.round(x + rng.normal(0, 1.5, 300))
    value, low, high, p = rank_correlation(x, y, range(300), seed=1)
    assert value == pytest.approx(spearmanr(x, y).statistic)
    # Fisher's interval for a rank correlation, with the variance of Bonett and Wright (2000).
    half = 1.96 * math.sqrt((1 + value**2 / 2) / 297)
    assert (low, high) == pytest.approx(
        (math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)), abs=0.02
    )
    assert p < 0.01


def test_rank_correlation_of_nothing() -> None:
    assert all(math.isnan(n) for n in rank_correlation(np.arange(5.0), np.ones(5), range(5), seed=1))
    independent = rank_correlation(
        np.arange(200.0), np.random.default_rng(3).permutation(200.0 * np.arange(200)), range(200), seed=1
    )
    assert independent.low < 0 < independent.high
    assert independent.p > 0.05

"""Intervals of one model's results: Wilson, and a bootstrap clustered by prompt."""

import warnings
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Resamples held in memory at once: 256 resamples of 100,000 prompts take about 400 MB, of 1,000 prompts 4 MB.
_BATCH = 256


class Estimate(NamedTuple):
    """A value with its confidence interval; the bounds are NaN where the data cannot give one."""

    value: float
    low: float
    high: float


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> Estimate:
    """Return a proportion with its Wilson score interval.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22
    (1927). It keeps close to its nominal coverage for small numbers and for proportions at 0 and 1.

    Args:
        successes: number of successes, 0 to ``trials``.
        trials: number of independent trials; 0 gives NaN three times.
        confidence: nominal coverage, between 0 and 1.

    Raises:
        ValueError: if ``successes`` is negative or above ``trials``.
    """
    from scipy.stats import binomtest

    if trials == 0 and successes == 0:
        return Estimate(float("nan"), float("nan"), float("nan"))
    interval = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Estimate(successes / trials, float(interval.low), float(interval.high))


def clustered_mean(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Estimate:
    """Return the mean of values that come in clusters, with a bootstrap interval over whole clusters.

    Pairs of one prompt are alike, so prompts are drawn, not pairs. Source: Efron and Tibshirani, "An
    Introduction to the Bootstrap" (1993), chapters 8 (draw what is independent) and 14 (the BCa interval,
    taken here; the percentile interval where the jackknife has no spread).

    Args:
        values: one number a pair, any unit.
        clusters: the prompt of each value; same length.
        seed: seed of the resampling, from `bdpo_pipeline.seeds.derive_seed`.
        confidence: nominal coverage, between 0 and 1.
        resamples: number of bootstrap resamples.

    Returns:
        The plain mean over values. The bounds are NaN with fewer than two clusters, and equal to the mean
        where every cluster has the same mean: the bootstrap sees no spread there.

    Raises:
        ValueError: if there are no values, one is not finite, or the lengths differ.
    """
    import numpy as np

    sums, counts = _sums_by_cluster(values, clusters)
    mean = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return Estimate(mean, float("nan"), float("nan"))
    if np.allclose(sums, mean * counts):
        return Estimate(mean, mean, mean)

    for method in ("BCa", "percentile"):
        interval = _bootstrap_ratio(sums, counts, method, seed, confidence, resamples)
        if np.isfinite(interval).all():
            break
    return Estimate(mean, *interval)


def clustered_proportion(
    outcomes: Sequence[bool],
    clusters: Sequence[Hashable],
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Estimate:
    """Return a proportion over pairs with an interval that respects their prompts.

    With one pair a prompt this is Wilson's interval. Otherwise it is `clustered_mean`, except where outcomes
    all agree: a bootstrap would then claim certainty, so it is Wilson's interval with the prompts as trials.

    Args: as `clustered_mean`, with a true-or-false outcome for each pair.
    """
    prompts = len(set(clusters))
    successes = sum(map(bool, outcomes))
    if prompts == len(outcomes):
        return wilson_interval(successes, prompts, confidence)
    if successes in (0, len(outcomes)):
        return wilson_interval(prompts if successes else 0, prompts, confidence)
    return clustered_mean(
        [float(outcome) for outcome in outcomes],
        clusters,
        seed=seed,
        confidence=confidence,
        resamples=resamples,
    )


def _sums_by_cluster(values: Sequence[float], clusters: Sequence[Hashable]) -> tuple["Floats", "Floats"]:
    import numpy as np
    import pandas as pd

    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) == 0 or len(numbers) != len(clusters):
        raise ValueError(
            f"found {len(numbers)} values and {len(clusters)} clusters; give at least one, and as many"
        )
    if not np.isfinite(numbers).all():
        first = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise ValueError(f"value {first} is {numbers[first]}; the mean needs finite numbers")
    codes, unique = pd.factorize(np.asarray(list(clusters), dtype=object))
    sums = np.bincount(codes, weights=numbers, minlength=len(unique)).astype(np.float64)
    counts = np.bincount(codes, minlength=len(unique)).astype(np.float64)
    return sums, counts


def _bootstrap_ratio(
    sums: "Floats", counts: "Floats", method: str, seed: int, confidence: float, resamples: int
) -> tuple[float, float]:
    import numpy as np
    from scipy.stats import bootstrap

    def ratio(sums: "Floats", counts: "Floats", axis: int) -> Any:
        return sums.sum(axis=axis) / counts.sum(axis=axis)

    with warnings.catch_warnings():
        # scipy warns where BCa has no finite bounds; the caller sees that and takes the percentile interval.
        warnings.simplefilter("ignore")
        interval = bootstrap(
            (sums, counts),
            ratio,
            paired=True,
            vectorized=True,
            n_resamples=resamples,
            batch=_BATCH,
            confidence_level=confidence,
            method=method,
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return float(interval.low), float(interval.high)

"""Means over prompts and seeds, and paired differences of them, with intervals that hold for new prompts and new seeds.

All seeds of an arm answer the same prompts, so the two are crossed. What a prompt does is bootstrapped: there are many. What a seed
does cannot be, with two or three of them: resampling two seeds sees half of their variance. So the bootstrap of the prompts is
widened by the variance between seeds beyond what the prompts explain, and by Student's t with the degrees of freedom of the sum. Two
seeds of two arms tell next to nothing of that variance, which is why it is pooled over all arms that were trained.

Sources: paired bootstrap, Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 8 and 13; widened ("expanded")
percentile intervals, T. Hesterberg, The American Statistician 69 (2015); variance of a mean over two crossed factors, H. Clark,
"The language-as-fixed-effect fallacy", Journal of Verbal Learning and Verbal Behavior 12 (1973); degrees of freedom,
F. Satterthwaite, Biometrics Bulletin 2 (1946); why no plain bootstrap is right for crossed factors, A. Owen, Annals of Applied
Statistics 1 (2007). docs/study_statistics.md has what the intervals cover, measured.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from bdpo_pipeline.statistics.intervals import Estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Bounds = tuple[float, float] | None

# Resamples drawn at once: 250 of 10,000 prompts take 20 MB.
_BATCH = 250
# Rounding leaves variances of 1e-33 where all prompts are alike.
_NOTHING = 1e-20


class Summary(NamedTuple):
    """A value with its interval and the p-value of its being 0; NaN where the data cannot give one."""

    value: float
    low: float
    high: float
    p: float


class SeedSpread(NamedTuple):
    """How much a value differs from seed to seed.

    Attributes:
        variance: of the value that one seed gives, its items being the same.
        freedom: degrees of freedom of that estimate.
    """

    variance: float
    freedom: float


@dataclass(frozen=True)
class PooledSeeds:
    """The analysis of variance of means, arms x seeds with one value a cell; arms are taken to differ alike from seed to seed.

    Attributes:
        arms: how many were trained.
        seeds: those that all have in common.
        of_seeds: mean square of seeds, which all arms share.
        of_both: mean square of arms and seeds: what a seed does to one arm alone.
    """

    arms: int
    seeds: int
    of_seeds: float
    of_both: float

    @property
    def difference(self) -> SeedSpread:
        """Of the difference of two arms that were trained with the same seed."""
        return SeedSpread(2 * self.of_both, (self.arms - 1) * (self.seeds - 1))

    @property
    def one_arm(self) -> SeedSpread:
        """Of one arm, and so of its difference from a model that no seed has a part in."""
        shared, own = self.of_seeds / self.arms, self.of_both * (self.arms - 1) / self.arms
        uncertain = (shared**2 + own**2 / max(self.arms - 1, 1)) / (self.seeds - 1)
        return SeedSpread(shared + own, (shared + own) ** 2 / uncertain if uncertain else float("inf"))


@dataclass(frozen=True)
class Crossed:
    """The mean of one table over items and seeds, with what its uncertainty is made of.

    Attributes:
        value: the mean over items, all seeds alike.
        by_seed: the same for each seed.
        prompts: how many.
        draws: the mean of resampled prompts, ``[resamples]``.
        prompt_variance: what prompts add to the variance of the value.
        rest_variance: what neither prompt nor seed explains adds to it; 0 with one seed.
    """

    value: float
    by_seed: "Floats"
    prompts: int
    draws: "Floats"
    prompt_variance: float
    rest_variance: float


def mean_over_seeds(
    values: "Floats",
    clusters: Sequence[Hashable],
    *,
    seed: int,
    bounds: Bounds = None,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Estimate:
    """Return the mean of an arm over items and seeds, with an interval for new prompts to these very models."""
    (crossed,) = resample([values.mean(axis=1, keepdims=True)], clusters, seed=seed, resamples=resamples)
    return Estimate(*summarise([crossed], bounds=bounds, confidence=confidence)[:3])


def pool_seeds(means: "Floats") -> PooledSeeds | None:
    """Return how means over items differ from seed to seed, over all arms; None of fewer than two arms or seeds.

    Args:
        means: ``[arms, seeds]``, of all trained arms on the same items, and of the seeds that all have.
    """
    arms, seeds = means.shape
    if arms < 2 or seeds < 2:
        return None
    by_seed = means.mean(axis=0)
    rest = means - means.mean(axis=1, keepdims=True) - by_seed + means.mean()
    return PooledSeeds(
        arms,
        seeds,
        float(arms * by_seed.var(ddof=1)),
        float((rest**2).sum()) / ((arms - 1) * (seeds - 1)),
    )


def paired_difference(
    first: "Floats",
    second: "Floats",
    clusters: Sequence[Hashable],
    *,
    seed: int,
    bounds: Bounds = None,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Summary:
    """Return the mean of ``first - second``, item by item and seed by seed, with an interval for new prompts and new seeds."""
    (crossed,) = resample([first - second], clusters, seed=seed, resamples=resamples)
    return summarise([crossed], bounds=bounds, confidence=confidence)


def resample(
    tables: Sequence["Floats"], clusters: Sequence[Hashable], *, seed: int, resamples: int
) -> list[Crossed]:
    """Return the mean of each table with what its uncertainty is made of; all are resampled with the same prompts.

    Args:
        tables: each ``[items, seeds]``; the seeds may differ in number.
        clusters: the prompt of each item, of types that sort; items of one prompt are drawn together.
        seed: seed of the resampling, from `bdpo_pipeline.seeds.derive_seed`.
        resamples: number of bootstrap resamples.

    Raises:
        ValueError: no items, a length that differs, or a value that is not finite.
    """
    import numpy as np

    place = {label: number for number, label in enumerate(sorted(set(clusters)))}  # type: ignore[type-var]
    codes = np.asarray([place[label] for label in clusters], dtype=np.int64)
    for table in tables:
        if table.ndim != 2 or 0 in table.shape or len(table) != len(codes):
            raise ValueError(
                f"found a table of shape {table.shape} for {len(codes)} items; give [items, seeds]"
            )
        if not np.isfinite(table).all():
            raise ValueError(
                "found a value that is not finite; the mean needs a number for every item and seed"
            )
    counts = np.bincount(codes).astype(np.float64)
    sums: list[Floats] = [
        np.column_stack([np.bincount(codes, weights=column).astype(np.float64) for column in table.T])
        for table in tables
    ]
    draws = _draw_means(np.column_stack([each.mean(axis=1) for each in sums]), counts, seed, resamples)
    return [_decompose(each, counts, draws[:, column]) for column, each in enumerate(sums)]


def summarise(
    added: Sequence[Crossed],
    taken: Sequence[Crossed] = (),
    *,
    bounds: Bounds = None,
    confidence: float = 0.95,
    spread: SeedSpread | None = None,
) -> Summary:
    """Return the sum of means less other means, of different prompts but the same seeds, with an interval for new ones of both.

    With one seed the interval is the plain bootstrap of prompts and says nothing of other seeds.

    Args:
        added: of :func:`resample`; one mean is the usual case.
        taken: means to be taken away, resampled with another seed than ``added``.
        bounds: the least and the largest value that there can be, or None. The interval stays within. Where all items agree, the
            bootstrap sees no spread; with bounds the interval is then Wilson's for so many prompts, without, it is the point.
        confidence: nominal coverage, between 0 and 1.
        spread: how much the sum differs from seed to seed, where more is known of that than these means tell.

    Returns:
        The value, its interval, and the least level at which the interval would not hold 0. Bounds and p are NaN with fewer than two
        prompts.
    """
    import numpy as np
    from scipy.special import stdtr, stdtrit

    parts, signs = [*added, *taken], [1] * len(added) + [-1] * len(taken)
    value = sum(sign * part.value for sign, part in zip(signs, parts, strict=True))
    draws: Floats = np.sum([sign * part.draws for sign, part in zip(signs, parts, strict=True)], axis=0)
    prompts = min(part.prompts for part in parts)
    if prompts < 2:
        return Summary(value, float("nan"), float("nan"), float("nan"))
    by_seed: Floats = np.sum([sign * part.by_seed for sign, part in zip(signs, parts, strict=True)], axis=0)
    from_prompts, from_seeds, freedom = _variances(parts, by_seed, spread)
    tail, least = (1 - confidence) / 2, 2 / (len(draws) + 1)
    if from_prompts + from_seeds < _NOTHING:
        low, high = _without_spread(value, prompts, bounds, confidence)
        return Summary(value, low, high, 1.0 if low <= 0 <= high else least)
    if from_prompts < _NOTHING:
        # Prompts agree and seeds do not, so there is nothing to bootstrap.
        reach = -float(stdtrit(freedom, tail)) * from_seeds**0.5
        p = 2 * float(stdtr(freedom, -abs(value) / from_seeds**0.5))
        return Summary(value, *_within(value - reach, value + reach, bounds), p)
    interval = partial(_widened, value, draws, (1 + from_seeds / from_prompts) ** 0.5, freedom)
    p = 1.0 if value == 0 else _p_value(interval, least)
    return Summary(value, *_within(*interval(tail), bounds), p)


def draw_prompts(prompts: int, seed: int, resamples: int) -> Iterator["Floats"]:
    """Yield how often each prompt is drawn, in batches ``[some resamples, prompts]``."""
    import numpy as np

    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _BATCH):
        size = min(_BATCH, resamples - start)
        yield rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=size).astype(np.float64)


def _draw_means(sums: "Floats", counts: "Floats", seed: int, resamples: int) -> "Floats":
    """Return the means of resampled prompts, ``[resamples, tables]``."""
    import numpy as np

    return np.concatenate(
        [drawn @ sums / (drawn @ counts)[:, None] for drawn in draw_prompts(len(counts), seed, resamples)]
    )


def _decompose(sums: "Floats", counts: "Floats", draws: "Floats") -> Crossed:
    """Return a table's mean and its analysis of variance, prompts x seeds with one value a cell: the cell's part in the mean."""
    prompts, seeds = sums.shape
    by_seed = sums.sum(axis=0) / counts.sum()
    value = float(by_seed.mean())
    parts = (sums - value * counts[:, None]) / counts.mean()
    by_prompt = parts.mean(axis=1)
    rest = parts - by_prompt[:, None] - parts.mean(axis=0)
    cells = prompts * max(prompts - 1, 1)
    return Crossed(
        value,
        by_seed,
        prompts,
        draws,
        float((by_prompt**2).sum()) / cells,
        float((rest**2).sum()) / (cells * seeds * (seeds - 1)) if seeds > 1 else 0.0,
    )


def _variances(
    parts: Sequence[Crossed], by_seed: "Floats", spread: SeedSpread | None
) -> tuple[float, float, float]:
    """Return the variance that prompts explain, what seeds add beyond it, and the degrees of freedom of the sum."""
    seeds = len(by_seed)
    from_prompts = sum(part.prompt_variance for part in parts)
    uncertain = sum(part.prompt_variance**2 / (part.prompts - 1) for part in parts)
    from_seeds = 0.0
    if seeds > 1:
        variance, freedom = spread or SeedSpread(float(by_seed.var(ddof=1)), seeds - 1)
        between = variance / seeds
        from_seeds = max(0.0, between - sum(part.rest_variance for part in parts))
        if from_seeds > _NOTHING:
            uncertain += between**2 / freedom
            uncertain += sum(part.rest_variance**2 / ((part.prompts - 1) * (seeds - 1)) for part in parts)
    total = from_prompts + from_seeds
    return from_prompts, from_seeds, total**2 / uncertain if uncertain else float("inf")


def _widened(
    value: float, draws: "Floats", factor: float, freedom: float, tail: float
) -> tuple[float, float]:
    """Return the percentile interval that leaves ``tail`` on either side, its arms longer by the factor and by Student's t."""
    import numpy as np
    from scipy.special import ndtri, stdtrit

    stretch = factor * float(stdtrit(freedom, tail) / ndtri(tail))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return value - stretch * (value - float(low)), value + stretch * (float(high) - value)


def _p_value(interval: Callable[[float], tuple[float, float]], least: float) -> float:
    """Return the least level, not below ``least``, at which the interval does not hold 0."""
    most = 1.0
    for _ in range(25):
        middle = (least * most) ** 0.5
        low, high = interval(middle / 2)
        if low <= 0 <= high:
            least = middle
        else:
            most = middle
    return most


def _without_spread(
    value: float, prompts: int, bounds: tuple[float, float] | None, confidence: float
) -> tuple[float, float]:
    from scipy.special import ndtri

    if bounds is None:
        return value, value
    square = float(ndtri((1 - confidence) / 2)) ** 2
    unseen = square / (prompts + square)
    return value - unseen * (value - bounds[0]), value + unseen * (bounds[1] - value)


def _within(low: float, high: float, bounds: tuple[float, float] | None) -> tuple[float, float]:
    return (low, high) if bounds is None else (max(low, bounds[0]), min(high, bounds[1]))

"""Rank correlation with an interval that respects prompts."""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from bdpo_pipeline.statistics.crossed import Summary, draw_prompts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def rank_correlation(
    first: "Floats", second: "Floats", clusters: Sequence[Hashable], *, seed: int, resamples: int = 2000
) -> Summary:
    """Return Spearman's correlation with a 95 % percentile interval over whole prompts, and the p-value that goes with it.

    Ranks are those in the whole sample, not taken again in each resample. All NaN where one side has a single value.

    Args:
        first: ``[items]``.
        second: ``[items]``.
        clusters: the prompt of each item, of types that sort.
        seed: seed of the resampling, from `bdpo_pipeline.seeds.derive_seed`.
        resamples: number of bootstrap resamples.
    """
    import numpy as np
    from scipy.stats import rankdata

    place = {label: number for number, label in enumerate(sorted(set(clusters)))}  # type: ignore[type-var]
    codes = np.asarray([place[label] for label in clusters], dtype=np.int64)
    x, y = (rankdata(side) - (len(codes) + 1) / 2 for side in (first, second))
    if len(place) < 2 or not x.any() or not y.any():
        return Summary(*4 * (float("nan"),))
    moments = np.column_stack([np.bincount(codes, weights=w) for w in (x * 0 + 1, x, y, x * y, x * x, y * y)])
    value = float(_correlations(moments.sum(axis=0)[None, :])[0])
    parts = [_correlations(drawn @ moments) for drawn in draw_prompts(len(place), seed, resamples)]
    draws = np.concatenate(parts)
    draws = draws[np.isfinite(draws)]
    low, high = (float(bound) for bound in np.quantile(draws, [0.025, 0.975]))
    beyond = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return Summary(value, low, high, min(1.0, 2 * (1 + beyond) / (len(draws) + 1)))


def _correlations(moments: "Floats") -> "Floats":
    """Return correlations from rows of sums: number, x, y, xy, xx, yy."""
    import numpy as np

    number, x, y, xy, xx, yy = moments.T
    with np.errstate(divide="ignore", invalid="ignore"):
        together = xy - x * y / number
        correlations: Floats = together / np.sqrt((xx - x * x / number) * (yy - y * y / number))
    return correlations

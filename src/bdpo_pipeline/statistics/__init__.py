"""Intervals and tests: of one model's results, and of arms with several seeds."""

from bdpo_pipeline.statistics.correlation import rank_correlation
from bdpo_pipeline.statistics.crossed import (
    Crossed,
    PooledSeeds,
    SeedSpread,
    Summary,
    mean_over_seeds,
    paired_difference,
    pool_seeds,
    resample,
    summarise,
)
from bdpo_pipeline.statistics.intervals import (
    Estimate,
    clustered_mean,
    clustered_proportion,
    wilson_interval,
)
from bdpo_pipeline.statistics.paired_tests import holm, mcnemar_exact, sign_flip_exact

__all__ = [
    "Crossed",
    "Estimate",
    "PooledSeeds",
    "SeedSpread",
    "Summary",
    "clustered_mean",
    "clustered_proportion",
    "holm",
    "mcnemar_exact",
    "mean_over_seeds",
    "paired_difference",
    "pool_seeds",
    "rank_correlation",
    "resample",
    "sign_flip_exact",
    "summarise",
    "wilson_interval",
]

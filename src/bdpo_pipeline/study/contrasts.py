"""One measure: the value of each arm, and paired differences between arms."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bdpo_pipeline.arms import BASE
from bdpo_pipeline.seeds import derive_seed
from bdpo_pipeline.statistics import SeedSpread, holm, pool_seeds, resample, sign_flip_exact, summarise

from .measures import HELDOUT, Measure

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

VALUES = ("value", "low", "high", "sd_over_seeds", "prompts", "items", "seeds")
DIFFERENCES = (
    "difference",
    "difference_low",
    "difference_high",
    "models_low",
    "models_high",
    "compared_seeds",
    "p_bootstrap",
    "p_models",
    "p_mcnemar",
)


def measure_arms(
    measure: Measure,
    arms: Sequence[str],
    contrasts: Sequence[tuple[str, str]],
    *,
    seed: int,
    resamples: int,
    rewards: Mapping[str, str],
) -> tuple[dict[str, dict[str, Any]], dict[tuple[str, str], dict[str, Any]]]:
    """Return the value of each arm and the differences ``first - second`` of each contrast, all on the same resampled prompts.

    Args:
        measure: what is compared.
        arms: whose values are wanted; one that the measure does not have gets a note.
        contrasts: pairs of arms.
        seed: the project's seed.
        resamples: number of bootstrap resamples.
        rewards: the kind of each arm's implicit reward; preference accuracies of different kinds are not compared.

    Returns:
        By arm the columns `VALUES`, by contrast the columns `DIFFERENCES`; both with a ``note``, which says why something is missing.
    """
    values = {arm: measure.tables[arm].to_numpy() for arm in arms if arm in measure.tables}
    pairs, notes = {}, {}
    for contrast in contrasts:
        paired, notes[contrast] = _pair(measure, contrast, rewards)
        if paired is not None:
            pairs[contrast] = paired
    # The mean over seeds first: an arm's own interval is of these very models, whose spread over seeds stands beside it.
    tables = [table.mean(axis=1, keepdims=True) for table in values.values()]
    tables += [table for paired in pairs.values() for table in (paired, paired.mean(axis=1, keepdims=True))]
    stream = derive_seed(seed, measure.stream)
    drawn = iter(resample(tables, measure.prompts, seed=stream, resamples=resamples) if tables else ())
    prompts = len(set(measure.prompts))
    by_arm: dict[str, dict[str, Any]] = {}
    for arm, table in values.items():
        summary = summarise([next(drawn)], bounds=measure.bounds)
        spread = float(table.mean(axis=0).std(ddof=1)) if table.shape[1] > 1 else float("nan")
        counts = (prompts, len(table), table.shape[1])
        by_arm[arm] = {"note": measure.note} | dict(zip(VALUES, (*summary[:3], spread, *counts), strict=True))
    for arm in arms:
        if arm not in by_arm:
            by_arm[arm] = {"note": _why_absent(measure, [arm])}
    bounds = measure.bounds and (measure.bounds[0] - measure.bounds[1], measure.bounds[1] - measure.bounds[0])
    by_contrast: dict[tuple[str, str], dict[str, Any]] = {}
    for contrast, note in notes.items():
        by_contrast[contrast] = {"note": note}
        if contrast in pairs:
            new = summarise([next(drawn)], bounds=bounds, spread=_spread(measure, contrast, rewards))
            same = summarise([next(drawn)], bounds=bounds)
            exact = _mcnemar(pairs[contrast], measure.prompts) if measure.outcomes else float("nan")
            row = (*new[:3], same.low, same.high, pairs[contrast].shape[1], new.p, same.p, exact)
            by_contrast[contrast] |= dict(zip(DIFFERENCES, row, strict=True))
    return by_arm, by_contrast


def add_holm(table: "pd.DataFrame", family: Sequence[str]) -> "pd.DataFrame":
    """Return the table with `p_holm` and `p_models_holm`, corrected within the rows that agree in the columns of the family.

    What is corrected is the larger of bootstrap and McNemar: the bootstrap is too sure where few prompts differ, McNemar where seeds do,
    and a claim should pass both.
    """
    table = table.copy()
    for source, corrected in (("p_bootstrap", "p_holm"), ("p_models", "p_models_holm")):
        larger = table[[source, "p_mcnemar"]].max(axis=1).where(table[source].notna())
        groups = larger.groupby([table[name].fillna("") for name in family], sort=False)
        table[corrected] = groups.transform(lambda p: holm(p.tolist()))
    return table


def _pair(
    measure: Measure, contrast: tuple[str, str], rewards: Mapping[str, str]
) -> tuple["Floats | None", str]:
    """Return the differences ``[items, seeds]``, or None, and a note of what is missing."""
    import numpy as np

    first, second = contrast
    absent = [arm for arm in contrast if arm not in measure.tables]
    if absent:
        return None, _why_absent(measure, absent)
    if measure.name == HELDOUT and rewards.get(first) != rewards.get(second):
        kinds = " and ".join(f"{arm}: {rewards.get(arm, 'unknown')}" for arm in contrast)
        return None, f"not compared: rewards of different kinds ({kinds})"
    one, two = measure.tables[first], measure.tables[second]
    if BASE in contrast:
        # It is not trained, so it has one set of answers, which every seed of the other arm is compared with.
        trained = one if second == BASE else two
        values = [np.broadcast_to(table.to_numpy(), trained.shape) for table in (one, two)]
        return values[0] - values[1], ""
    common = [seed for seed in one.columns if seed in two.columns]
    everything = sorted({*one.columns, *two.columns})
    if not common:
        return None, f"not compared: {first} and {second} have no seed in common"
    note = "" if common == everything else f"compared on seeds {_listed(common)} of {_listed(everything)}"
    return one[common].to_numpy() - two[common].to_numpy(), note


def _why_absent(measure: Measure, arms: Sequence[str]) -> str:
    return "; ".join(measure.absent.get(arm, f"{arm} has no {measure.name} on {measure.on}") for arm in arms)


def _spread(measure: Measure, contrast: tuple[str, str], rewards: Mapping[str, str]) -> SeedSpread | None:
    """Return how much the difference differs from seed to seed, by all trained arms that are alike enough to tell."""
    import numpy as np

    trained = [arm for arm in contrast if arm != BASE]
    seeds = sorted(set.intersection(*(set(measure.tables[arm].columns) for arm in trained)))
    kinds = {rewards.get(arm) for arm in trained}
    alike = [
        arm
        for arm, table in measure.tables.items()
        if arm != BASE
        and set(seeds) <= set(table.columns)
        # Shares of pairs by rewards of other kinds may differ otherwise.
        and (measure.name != HELDOUT or rewards.get(arm) in kinds)
    ]
    pooled = pool_seeds(np.array([measure.tables[arm][seeds].to_numpy().mean(axis=0) for arm in alike]))
    if pooled is None:
        return None
    return pooled.one_arm if BASE in contrast else pooled.difference


def _mcnemar(differences: "Floats", prompts: Sequence[str]) -> float:
    import numpy as np

    _, codes = np.unique(np.asarray(prompts, dtype=object).astype(str), return_inverse=True)
    whole = np.bincount(codes, weights=differences.sum(axis=1))
    return sign_flip_exact(np.rint(whole).astype(np.int64))


def _listed(seeds: Sequence[Any]) -> str:
    return ", ".join(str(seed) for seed in seeds)

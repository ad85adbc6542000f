"""The overfitting gap: how much better an arm orders the pairs that it was trained on than pairs that it never saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bdpo_pipeline.seeds import derive_seed
from bdpo_pipeline.statistics import Crossed, SeedSpread, Summary, pool_seeds, resample, summarise

from .measures import ALL_PAIRS, Measure, heldout_measures

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "pairs",
    "arm",
    "seed",
    "train_accuracy",
    "heldout_accuracy",
    "gap",
    "gap_low",
    "gap_high",
    "train_pairs",
    "heldout_pairs",
    "difference",
    "difference_low",
    "difference_high",
    "note",
)


@dataclass(frozen=True)
class _Sides:
    """The training and the held-out pairs of one kind."""

    train: Measure
    heldout: Measure
    seed: int
    resamples: int

    def resample(self, tables: list[tuple[Any, Any]]) -> list[tuple[Crossed, Crossed]]:
        """Return, for each pair of tables, the means of training and of held-out pairs, with prompts drawn independently."""
        sides = []
        for side, measure in enumerate((self.train, self.heldout)):
            stream = derive_seed(self.seed, f"{measure.stream}.{'heldout' if side else 'train'}.gap")
            both = [pair[side] for pair in tables]
            sides.append(resample(both, measure.prompts, seed=stream, resamples=self.resamples))
        return list(zip(*sides, strict=True))


def measure_overfitting(
    scores: "pd.DataFrame", *, baseline: str, seed: int, resamples: int, rewards: Mapping[str, str]
) -> "pd.DataFrame":
    """Return `study_overfitting` (docs/artifacts.md): for each arm a row a seed and, without a seed, their mean.

    Training and held-out pairs are resampled independently, by prompt. The mean's gap less the baseline's has an interval for new
    prompts and new seeds, as in `study_comparison`.

    Args:
        scores: `study_scores`.
        baseline: the arm that the gaps are compared with.
        seed: the project's seed.
        resamples: number of bootstrap resamples.
        rewards: the kind of each arm's implicit reward; gaps of different kinds are not compared.

    Raises:
        StudyTablesError: arms that were not scored on the same pairs.
    """
    import pandas as pd

    # An arm that took part of the training pairs was scored on those of its own, so arms are not asked to have the same ones.
    rows: list[dict[str, Any]] = []
    heldout = {measure.on: measure for measure in heldout_measures(scores)}
    for on, measure in heldout.items():
        trains = {arm: _own_train(scores, arm, on) for arm in measure.tables}
        rows += [{"pairs": on, "arm": arm, "note": why} for arm, why in measure.absent.items()]
        for arm in measure.tables:
            rows += _arm_rows(arm, trains, measure, baseline, seed, resamples, rewards)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype(dict.fromkeys(("seed", "train_pairs", "heldout_pairs"), "Int64"))


def _own_train(scores: "pd.DataFrame", arm: str, on: str) -> Measure | None:
    measures = heldout_measures(scores[scores["arm"] == arm], split="train")
    kinds = {measure.on: measure for measure in measures if measure.tables}
    # Where every training pair has one safe response, all of them are of that kind.
    only = scores[(scores["arm"] == arm) & (scores["split"] == "train")]["one_safe"]
    return kinds.get(on) or (kinds.get(ALL_PAIRS) if bool(only.fillna(False).all()) else None)


def _arm_rows(
    arm: str,
    trains: Mapping[str, Measure | None],
    heldout: Measure,
    baseline: str,
    seed: int,
    resamples: int,
    rewards: Mapping[str, str],
) -> list[dict[str, Any]]:
    train, table = trains[arm], heldout.tables[arm]
    if train is None:
        return [
            {"pairs": heldout.on, "arm": arm, "note": f"{arm} has no scores of training pairs of this kind"}
        ]
    seeds = [number for number in table.columns if number in train.tables[arm].columns]
    sides = _Sides(train, heldout, seed, resamples)
    first, second = train.tables[arm][seeds].to_numpy(), table[seeds].to_numpy()
    wanted = [(first[:, [place]], second[:, [place]]) for place in range(len(seeds))]
    wanted.append((first.mean(axis=1, keepdims=True), second.mean(axis=1, keepdims=True)))
    rows = []
    for number, (one, two) in zip([*seeds, None], sides.resample(wanted), strict=True):
        rows.append(
            {"pairs": heldout.on, "arm": arm, "seed": number, "train_accuracy": one.value}
            | {"heldout_accuracy": two.value, "train_pairs": len(first), "heldout_pairs": len(second)}
            | _named("gap", summarise([one], [two], bounds=(-1.0, 1.0)))
            | {"note": ""}
        )
    if arm != baseline:
        rows[-1] |= _against_baseline(arm, trains, heldout, baseline, sides, rewards)
    return rows


def _against_baseline(
    arm: str,
    trains: Mapping[str, Measure | None],
    heldout: Measure,
    baseline: str,
    sides: _Sides,
    rewards: Mapping[str, str],
) -> dict[str, Any]:
    train, other = trains[arm], trains.get(baseline)
    if train is None or other is None:
        return {"note": f"not compared: {baseline} has no scores of this kind"}
    if rewards.get(arm) != rewards.get(baseline):
        return {"note": "not compared: rewards of different kinds"}
    if list(train.tables[arm].index) != list(other.tables[baseline].index):
        return {"note": f"not compared: {arm} and {baseline} were scored on different training pairs"}
    tables = [train.tables[arm], other.tables[baseline], heldout.tables[arm], heldout.tables[baseline]]
    seeds = sorted(set.intersection(*(set(table.columns) for table in tables)))
    if not seeds:
        return {"note": f"not compared: {arm} and {baseline} have no seed in common"}
    values = [table[seeds].to_numpy() for table in tables]
    ((one, two),) = sides.resample([(values[0] - values[1], values[2] - values[3])])
    spread = _spread(
        seeds, trains, heldout, [name for name in trains if rewards.get(name) == rewards.get(arm)]
    )
    return _named("difference", summarise([one], [two], bounds=(-2.0, 2.0), spread=spread))


def _spread(
    seeds: list[Any], trains: Mapping[str, Measure | None], heldout: Measure, alike: Sequence[str]
) -> SeedSpread | None:
    """Return how much the difference of two gaps differs from seed to seed, by all arms with rewards of this kind."""
    import numpy as np

    gaps = []
    for arm in alike:
        train, table = trains[arm], heldout.tables[arm]
        if train is not None and set(seeds) <= set(table.columns) & set(train.tables[arm].columns):
            gaps.append(
                train.tables[arm][seeds].to_numpy().mean(axis=0) - table[seeds].to_numpy().mean(axis=0)
            )
    pooled = pool_seeds(np.array(gaps))
    return None if pooled is None else pooled.difference


def _named(name: str, summary: Summary) -> dict[str, float]:
    return {name: summary.value, f"{name}_low": summary.low, f"{name}_high": summary.high}

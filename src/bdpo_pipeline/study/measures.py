"""What arms are compared by: each measure as one table an arm, items in rows and seeds in columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# What is judged, how it is called, and which direction is better.
_JUDGED = {
    ("safety", "refuse"): ("safe responses", "higher"),
    ("safety", "comply"): ("safe responses", "higher"),
    ("refusal", "refuse"): ("refusals", "higher"),
    ("refusal", "comply"): ("over-refusals", "lower"),
}
# The same of general ability, by the first word of the measure.
_ABILITY = {"accuracy": "higher", "nats": "lower", "kl": "lower"}
HELDOUT = "preference accuracy"
ALL_PAIRS, ONE_SAFE = "all pairs", "one safe response"


@dataclass(frozen=True)
class Measure:
    """One thing that arms are compared by.

    Attributes:
        name: what is measured, such as ``safe responses``.
        on: the prompt set, the task, or the kind of held-out pairs.
        desired: ``refuse`` or ``comply`` of a prompt set, else None.
        judge: name, measured accuracy and on what, of a prompt set, else None.
        better: ``higher``, ``lower`` or ``neither``.
        bounds: the least and the largest value of an item, or None.
        outcomes: whether every value is true or false, so that McNemar's test applies.
        tables: for each arm its values, ``[items, seeds]``; items sorted and the same for all arms.
        prompts: the prompt of each item.
    """

    name: str
    on: str
    desired: str | None
    judge: tuple[str, float, str] | None
    better: str
    bounds: tuple[float, float] | None
    outcomes: bool
    tables: Mapping[str, "pd.DataFrame"]
    prompts: Sequence[str]

    @property
    def key(self) -> dict[str, Any]:
        """The columns that name the measure in every table of the study."""
        judge, accuracy, measured_on = self.judge or (None, float("nan"), None)
        return {
            "measure": self.name,
            "on": self.on,
            "desired": self.desired,
            "judge": judge,
            "judge_accuracy": accuracy,
            "judge_measured_on": measured_on,
            "better": self.better,
        }

    @property
    def stream(self) -> str:
        """The name of its random stream."""
        return f"study.{self.name}.{self.on}.{self.desired}.{self.judge and self.judge[0]}"


class StudyTablesError(ValueError):
    """The tables of a study cannot be compared; the message names measure, arm and item."""


def collect_measures(
    judgements: "pd.DataFrame", ability: "pd.DataFrame", scores: "pd.DataFrame"
) -> list[Measure]:
    """Return every measure that the study's tables hold, in the order they are reported.

    Args:
        judgements: `study_judgements` as in docs/artifacts.md, and likewise the two tables after it.
        ability: may be empty.
        scores: may be empty.

    Raises:
        StudyTablesError: arms that did not answer the same prompts, or one that answered a prompt twice.
    """
    return [*judged_measures(judgements), *_ability_measures(ability), *heldout_measures(scores)]


def judged_measures(judgements: "pd.DataFrame") -> list[Measure]:
    """Return a measure for each prompt set, desired behaviour and judge."""
    found = []
    for key, rows in judgements.groupby(["prompt_set", "desired", "judge", "measures"], sort=True):
        prompt_set, desired, judge, measures = map(str, key)
        if (measures, desired) not in _JUDGED:
            raise StudyTablesError(
                f"study_judgements: judge {judge!r} measures {measures!r} where {desired!r} is desired; "
                f"accepted: {', '.join(f'{kind} with {wish}' for kind, wish in _JUDGED)}"
            )
        name, better = _JUDGED[measures, desired]
        tables = tables_by_arm(rows, "prompt_id", "positive", f"{name} on {prompt_set} by {judge}")
        first = rows.iloc[0]
        described = (judge, float(first["judge_accuracy"]), str(first["judge_measured_on"]))
        items = list(next(iter(tables.values())).index)
        found.append(Measure(name, prompt_set, desired, described, better, (0.0, 1.0), True, tables, items))
    order = list(dict.fromkeys(name for name, _ in _JUDGED.values()))
    return sorted(found, key=lambda measure: order.index(measure.name))


def _ability_measures(ability: "pd.DataFrame") -> list[Measure]:
    """Return a measure for each task of general ability."""
    found = []
    for key, rows in ability.groupby(["task", "measure"], sort=True):
        task, name = map(str, key)
        tables = tables_by_arm(rows, "item_id", "score", f"{name} on {task}")
        kind = name.split("_")[0]
        outcomes = kind == "accuracy" and bool(rows["score"].isin([0, 1]).all())
        better = _ABILITY.get(kind, "neither")
        bounds = (0.0, 1.0) if kind == "accuracy" else None
        clusters = _prompts(rows, "item_id", tables)
        found.append(
            Measure(name.replace("_", " "), task, None, None, better, bounds, outcomes, tables, clusters)
        )
    return found


def heldout_measures(scores: "pd.DataFrame", split: str = "heldout") -> list[Measure]:
    """Return the share of pairs whose chosen response has the higher reward, of all pairs and of those with one safe response.

    Pairs of one prompt count together. The second kind is left out where it is the same as the first.
    """
    rows = scores[scores["split"] == split]
    one_safe = rows[rows["one_safe"].fillna(False).astype(bool)]
    kinds = {ALL_PAIRS: rows}
    if 0 < len(one_safe) < len(rows):
        kinds[ONE_SAFE] = one_safe
    found = []
    for kind, part in kinds.items():
        if part.empty:
            continue
        tables = tables_by_arm(part, "pair_id", "correct", f"{HELDOUT} on {kind} of {split}")
        clusters = _prompts(part, "pair_id", tables)
        found.append(Measure(HELDOUT, kind, None, None, "higher", (0.0, 1.0), True, tables, clusters))
    return found


def tables_by_arm(rows: "pd.DataFrame", item: str, value: str, where: str) -> dict[str, "pd.DataFrame"]:
    """Return for each arm, sorted, a table with a row an item and a column a seed.

    Raises:
        StudyTablesError: an item twice, a value that is missing, or arms or seeds that do not have the same items.
    """
    twice = rows.duplicated(["arm", "seed", item])
    if twice.any():
        arm, seed, name = rows.loc[twice, ["arm", "seed", item]].iloc[0]
        raise StudyTablesError(
            f"{where}: arm {arm!r}, seed {seed} has {item} {name!r} twice; give it one value"
        )
    if rows[value].isna().any():
        arm, seed, name = rows.loc[rows[value].isna(), ["arm", "seed", item]].iloc[0]
        raise StudyTablesError(f"{where}: arm {arm!r}, seed {seed} has no {value} for {item} {name!r}")
    items = sorted(rows[item].unique())
    tables, lacking = {}, []
    for arm, own in rows.groupby("arm", sort=True):
        table = own.pivot(index=item, columns="seed", values=value).reindex(items).sort_index(axis=1)
        for seed in table.columns[table.isna().any()]:
            missing = table.index[table[seed].isna()]
            lacking.append(f"arm {arm!r}, seed {seed} lacks {len(missing)}, such as {missing[0]!r}")
        tables[str(arm)] = table.astype(float)
    if lacking:
        raise StudyTablesError(
            f"{where}: the arms did not answer the same {len(items)} items ({'; '.join(lacking)}); "
            "evaluate all arms with the same prompts"
        )
    return tables


def _prompts(rows: "pd.DataFrame", item: str, tables: Mapping[str, "pd.DataFrame"]) -> list[str]:
    """Return the prompt of each item of the tables, in their order."""
    prompts = rows.drop_duplicates(item).set_index(item)["prompt_key"]
    return [str(prompts[name]) for name in next(iter(tables.values())).index]

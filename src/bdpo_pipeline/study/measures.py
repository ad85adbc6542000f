"""What arms are compared by: each measure as one table an arm, items in rows and seeds in columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

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
# Of more of an arm's answers than this, a judge must not fail to give a verdict; then the arm is left out, and not the prompts.
_UNJUDGED = 0.1
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
        absent: arms without a table, and why.
        note: what was left out for all arms.
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
    absent: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

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


class Tables(NamedTuple):
    """The values of each arm, ``[items, seeds]``, arms that have none and why, and how many items were left out for all."""

    by_arm: dict[str, "pd.DataFrame"]
    absent: dict[str, str]
    dropped: int

    @property
    def items(self) -> list[str]:
        """The items, in the order of the rows."""
        return list(next(iter(self.by_arm.values())).index) if self.by_arm else []


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
        where = f"{name} on {prompt_set} by {judge}"
        tables = tables_by_arm(rows, "prompt_id", "positive", where, tolerated=_UNJUDGED)
        first = rows.iloc[0]
        described = (judge, float(first["judge_accuracy"]), str(first["judge_measured_on"]))
        note = f"{where}: {tables.dropped} prompts left out, without a verdict" if tables.dropped else ""
        measured = (tables.by_arm, tables.items, tables.absent, note)
        found.append(Measure(name, prompt_set, desired, described, better, (0.0, 1.0), True, *measured))
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
        measured = (tables.by_arm, _prompts(rows, "item_id", tables.items), tables.absent)
        found.append(Measure(name.replace("_", " "), task, None, None, better, bounds, outcomes, *measured))
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
        measured = (tables.by_arm, _prompts(part, "pair_id", tables.items), tables.absent)
        found.append(Measure(HELDOUT, kind, None, None, "higher", (0.0, 1.0), True, *measured))
    return found


def tables_by_arm(
    rows: "pd.DataFrame", item: str, value: str, where: str, *, tolerated: float = 0.0
) -> Tables:
    """Return for each arm, sorted, a table with a row an item and a column a seed.

    Args:
        rows: of one measure.
        item: the column that names what was measured.
        value: the column with what came out; it may lack a number.
        where: names the measure in messages.
        tolerated: the share of an arm's values that may lack a number. Those items are left out for all arms; an arm that lacks more is
            left out itself.

    Raises:
        StudyTablesError: an item twice, or arms or seeds that do not have the same items.
    """
    import numpy as np

    twice = rows.duplicated(["arm", "seed", item])
    if twice.any():
        arm, seed, name = rows.loc[twice, ["arm", "seed", item]].iloc[0]
        raise StudyTablesError(
            f"{where}: arm {arm!r}, seed {seed} has {item} {name!r} twice; give it one value"
        )
    known = rows[value].notna() & np.isfinite(rows[value].astype(object).fillna(0).astype(float))
    lacking = (~known).groupby(rows["arm"]).agg(["sum", "size"])
    absent = {
        str(arm): f"{where}: left out is {arm}, of which {number} of {size} values are missing or not finite"
        for arm, number, size in lacking.itertuples()
        if number > tolerated * size
    }
    kept = rows[~rows["arm"].isin(absent)]
    unknown = set(kept.loc[~known[kept.index], item])
    items = sorted(set(kept[item]) - unknown)
    if not items:
        return Tables(
            {}, dict.fromkeys(map(str, rows["arm"].unique()), f"{where}: no item has a value") | absent, 0
        )
    tables, missed = {}, []
    for arm, own in kept[~kept[item].isin(unknown)].groupby("arm", sort=True):
        table = own.pivot(index=item, columns="seed", values=value).reindex(items).sort_index(axis=1)
        for seed in table.columns[table.isna().any()]:
            missing = table.index[table[seed].isna()]
            missed.append(f"arm {arm!r}, seed {seed} lacks {len(missing)}, such as {missing[0]!r}")
        tables[str(arm)] = table.astype(float)
    if missed:
        raise StudyTablesError(
            f"{where}: the arms did not answer the same {len(items)} items ({'; '.join(missed)}); "
            "evaluate all arms with the same prompts"
        )
    return Tables(tables, absent, len(unknown))


def _prompts(rows: "pd.DataFrame", item: str, items: Sequence[str]) -> list[str]:
    """Return the prompt of each item."""
    prompts = rows.drop_duplicates(item).set_index(item)["prompt_key"]
    return [str(prompts[name]) for name in items]

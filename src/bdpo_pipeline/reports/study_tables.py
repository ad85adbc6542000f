"""The tables of a study's page: plain text cells, escaped by the template."""

from collections.abc import Mapping
from typing import Any

from bdpo_pipeline.tables import DataFrame

from .formatting import DASH, count, duration, is_missing, number, number_interval, p_value, percent
from .study_words import (
    StudyTables,
    arms_of,
    finding,
    interval_text,
    is_better,
    list_missing,
    measure_label,
    signed_difference,
    value_text,
)
from .tables import Table

_KEY = ["measure", "on", "desired", "judge"]


def overview_table(comparison: DataFrame, baseline: str) -> Table:
    """Return every measure in a row and every arm in a column, marked where a difference is shown."""
    arms = arms_of(comparison)
    rows = []
    for _, part in comparison.groupby(_KEY, sort=False, dropna=False):
        records = {row["arm"]: row for row in part.to_dict("records")}
        first = records[baseline]
        better = {"higher": "\u2191", "lower": "\u2193"}.get(first["better"], "")
        cells = [f"{value_text(records[arm])}{_mark(records[arm])}" for arm in arms]
        rows.append([f"{measure_label(first)} {better}".rstrip(), *cells])
    caption = (
        "Means over seeds; \u2191 more is better, \u2193 less is better. "
        f"\u25b2 better and \u25bc worse than {baseline}, shown for other prompts and seeds; \u25b3 better and \u25bd worse, shown of "
        "these very models only; no mark: no difference shown."
    )
    return Table(caption, ["Measure", *arms], rows, numeric=frozenset(range(1, len(arms) + 1)))


def comparison_tables(comparison: DataFrame, baseline: str) -> list[Table]:
    """Return a table for each measure: value, spread and difference of every arm."""
    tables = []
    for _, part in comparison.groupby(_KEY, sort=False, dropna=False):
        rows = [_comparison_row(row, baseline) for row in part.to_dict("records")]
        header = ["Arm", "Mean", "95\u00a0% interval", "Sd over seeds", "Seeds", "Prompts"]
        header += [f"Difference from {baseline}, 95\u00a0% interval", "These models only"]
        header += ["Bootstrap p", "McNemar p", "Holm p", "Note"]
        caption = f"{measure_label(part.iloc[0]).capitalize()}."
        tables.append(Table(caption, header, rows, numeric=frozenset(range(1, 11))))
    return tables


def category_tables(categories: DataFrame) -> list[Table]:
    """Return a table for each prompt set and judge, a row a category and a column an arm."""
    tables = []
    for _, part in categories.groupby(_KEY, sort=False, dropna=False):
        arms = sorted(part["arm"].unique(), key=list(categories["arm"].drop_duplicates()).index)
        rows = []
        for category, cells in part.groupby("category", sort=False):
            records = {row["arm"]: row for row in cells.to_dict("records")}
            known = [row["prompts"] for row in records.values() if not is_missing(row["prompts"])]
            shown = [
                f"{value_text(records[arm])} ({interval_text(records[arm])})"
                if arm in records and not is_missing(records[arm]["value"])
                else DASH
                for arm in arms
            ]
            rows.append([str(category), count(known[0] if known else None), *shown])
        caption = (
            f"{measure_label(part.iloc[0]).capitalize()}, by category: mean over seeds and its 95\u00a0% interval. "
            "Many small cells, none of them tested."
        )
        header = ["Category", "Prompts", *arms]
        tables.append(Table(caption, header, rows, numeric=frozenset(range(1, len(header)))))
    return tables


def overfitting_table(overfitting: DataFrame, baseline: str) -> Table:
    """Return training and held-out accuracy of every arm, with the gap of each seed and of their mean."""
    rows = [
        [
            row["arm"],
            row["pairs"],
            "mean" if is_missing(row["seed"]) else count(row["seed"]),
            percent(row["train_accuracy"]),
            percent(row["heldout_accuracy"]),
            _points(row, "gap"),
            _points(row, "difference"),
            _note(row),
        ]
        for row in overfitting.to_dict("records")
    ]
    header = [
        "Arm",
        "Pairs",
        "Seed",
        "Training",
        "Held-out",
        "Gap, 95\u00a0% interval",
        f"Less that of {baseline}",
        "Note",
    ]
    caption = (
        "Share of pairs whose chosen response has the higher implicit reward, and by how many points it is larger on training pairs. "
        "Single seeds and the gap of their mean: for other prompts to these models; differences of several seeds: for other seeds, too. "
        "An objective without a reference orders some pairs before it is trained, and not equally many of both kinds."
    )
    return Table(caption, header, rows, numeric=frozenset({2, 3, 4, 5, 6}))


def correlation_table(imbalance: DataFrame) -> Table:
    """Return the rank correlation of imbalance and error of each arm."""
    rows = [
        [
            row["arm"],
            row["pairs"],
            number(row["correlation"]),
            number_interval(row["correlation_low"], row["correlation_high"]),
            p_value(row["correlation_p"]).removeprefix("= "),
            count(row["seeds"]),
            count(row["without_imbalance"]),
        ]
        for row in imbalance.drop_duplicates(["pairs", "arm"]).to_dict("records")
    ]
    header = [
        "Arm",
        "Pairs",
        "Rank correlation",
        "95\u00a0% interval",
        "p",
        "Seeds",
        "Pairs without imbalance",
    ]
    caption = "Spearman's correlation of a pair's absolute imbalance with its error (mean over seeds), over held-out pairs."
    return Table(caption, header, rows, numeric=frozenset({2, 3, 4, 5, 6}))


def subsets_table(subsets: DataFrame) -> Table:
    """Return the arms that were trained on different subsets, two by two."""
    rows = []
    for row in subsets.to_dict("records"):
        values = [
            value_text({"measure": row["measure"], "value": row[f"{side}_value"]})
            for side in ("first", "second")
        ]
        known = not is_missing(row["difference"])
        rows.append(
            [
                measure_label(row),
                f"{row['first']} \u2212 {row['second']}",
                *values,
                signed_difference(row) if known else DASH,
                interval_text(row, "models_low", "models_high") if known else DASH,
                _p(row["p_holm"]),
                _note(row),
            ]
        )
    header = [
        "Measure",
        "Training pairs",
        "First",
        "Second",
        "Difference, 95\u00a0% interval",
        "These models only",
        "Holm p",
        "Note",
    ]
    caption = (
        "The same objective trained on the pairs with the least, with the largest and with any imbalance, equally many. "
        "Corrected for the contrasts within one measure."
    )
    return Table(caption, header, rows, numeric=frozenset({2, 3, 4, 5, 6}))


def trials_table(trials: DataFrame) -> Table:
    """Return every point of the grid of every arm, the chosen ones marked."""
    rows = [
        [
            row["arm"],
            f"{row['point']}{_choice(row)}",
            f"{row['learning_rate']:g}",
            f"{row['strength']:g}",
            percent(row["validation_safe_rate"]),
            number(row["validation_helpful_nll"], 3),
            number(row["helpful_loss"], 3),
            number(row["validation_kl"], 3),
            percent(row["validation_accuracy"]),
            _step(row),
            duration(row["seconds"]),
        ]
        for row in trials.sort_values(["arm", "learning_rate", "strength"], kind="stable").to_dict("records")
    ]
    header = [
        "Arm",
        "Point",
        "Learning rate",
        "Strength",
        "Safe responses",
        "Helpful nats per token",
        "More than untrained",
        "KL",
        "Accuracy",
        "Best step",
        "Time",
    ]
    caption = (
        "Every point that every arm was tried at, with a seed of its own, measured on validation prompts and pairs only. Strength is a "
        "factor on the objective's own (beta, for most). Accuracies of objectives with different rewards do not compare."
    )
    return Table(caption, header, rows, numeric=frozenset(range(2, 11)))


def trainings_table(trainings: DataFrame) -> Table:
    """Return every model that arms are compared by."""
    rows = [
        [
            row["arm"],
            count(row["seed"]),
            row["point"],
            row["objective"],
            f"{row['learning_rate']:g}",
            f"{row['strength']:g}",
            number(row["step_0_loss"], 4),
            _step(row),
            duration(row["seconds"]),
        ]
        for row in trainings.sort_values(["arm", "seed"], kind="stable").to_dict("records")
    ]
    header = [
        "Arm",
        "Seed",
        "Point",
        "Objective",
        "Learning rate",
        "Strength",
        "Loss at step 0",
        "Step of its weights",
        "Time",
    ]
    caption = "The models that arms are compared by: trained afresh at the chosen point with every seed."
    return Table(caption, header, rows, numeric=frozenset({1, 4, 5, 6, 7, 8}))


def _step(row: Mapping[Any, Any]) -> str:
    ended = "" if is_missing(row["diverged_at_step"]) else ", diverged"
    return f"{count(row['best_step'])} of {count(row['steps'])}{ended}"


def _choice(row: Mapping[Any, Any]) -> str:
    if not row["chosen"]:
        return ""
    return " (chosen)" if row["within_bound"] else " (chosen, beyond the bound)"


def judges_table(comparison: DataFrame) -> Table:
    """Return the judges with their measured accuracy."""
    judged = comparison[comparison["judge"].notna()]
    rows = [
        [
            row["judge"],
            "safety" if row["measure"] == "safe responses" else "refusal",
            percent(row["judge_accuracy"]) if not is_missing(row["judge_accuracy"]) else "not measured",
            str(row["judge_measured_on"]),
        ]
        for row in judged.drop_duplicates("judge").to_dict("records")
    ]
    caption = (
        "A judge reads every answer and may be wrong. Errors that are alike in all arms mostly cancel in a difference; errors that an "
        "arm's style brings about do not."
    )
    return Table(caption, ["Judge", "Judges", "Accuracy", "Measured on"], rows, numeric=frozenset({2}))


def missing_table(tables: StudyTables) -> Table | None:
    """Return what is missing or not compared, or None where nothing is."""
    found = list_missing(tables)
    if not found:
        return None
    return Table("What is missing or was not compared, and why.", ["Where", "What and why"], found)


def facts_table(caption: str, facts: Mapping[str, Any]) -> Table:
    """Return facts as names and values."""
    return Table(caption, ["Name", "Value"], [[name, str(value)] for name, value in facts.items()])


def _comparison_row(row: Any, baseline: str) -> list[str]:
    cells = [
        row["arm"],
        value_text(row),
        interval_text(row),
        _spread(row),
        count(row["seeds"]),
        count(row["prompts"]),
    ]
    if row["arm"] == baseline:
        return [*cells, "baseline", DASH, DASH, DASH, DASH, _note(row)]
    if is_missing(row["difference"]):
        return [*cells, DASH, DASH, DASH, DASH, DASH, _note(row)]
    return [
        *cells,
        signed_difference(row),
        interval_text(row, "models_low", "models_high"),
        *(_p(row[name]) for name in ("p_bootstrap", "p_mcnemar", "p_holm")),
        _note(row),
    ]


def _note(row: Any) -> str:
    return "" if is_missing(row["note"]) else str(row["note"])


def _spread(row: Any) -> str:
    if is_missing(row["sd_over_seeds"]):
        return DASH
    return value_text({"measure": row["measure"], "value": row["sd_over_seeds"]})


def _mark(row: Any) -> str:
    better, what = is_better(row), finding(row)
    if better is None or what not in ("shown", "models"):
        return ""
    marks = {"shown": ("\u25bc", "\u25b2"), "models": ("\u25bd", "\u25b3")}
    return f" {marks[what][better]}"


def _p(p: Any) -> str:
    return p_value(p).removeprefix("= ")


def _points(row: Any, name: str) -> str:
    if is_missing(row[name]):
        return DASH
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{number(100 * row[name], 1)}, {number_interval(100 * low, 100 * high, 1)}"

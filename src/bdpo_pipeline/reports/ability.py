"""General ability in words and in a table."""

from typing import Any

from bdpo_pipeline.tables import DataFrame

from .formatting import (
    DASH,
    count,
    is_missing,
    number,
    number_interval,
    p_value,
    percent,
    percent_interval,
)
from .result_plots import MEASURES
from .tables import Table


def ability_sentences(ability_metrics: DataFrame) -> list[str]:
    """Return one sentence for each task and measure, parts of tasks and second ways to count left out."""
    whole = ability_metrics[
        ~ability_metrics["task"].str.contains("/")
        & (ability_metrics["measure"].isin(["accuracy", "nats_per_token"]))
    ]
    sentences = []
    for (task, measure), rows in whole.groupby(["task", "measure"], sort=False):
        models = rows.set_index("model")
        base, adapter = models.loc["base"], models.loc["adapter"]
        excludes_zero = adapter["difference_low"] > 0 or adapter["difference_high"] < 0
        shown = "a change" if excludes_zero else "no change shown"
        items = count(base["items"])
        if measure == "accuracy":
            sentences.append(
                f"General ability, {task} ({items} items): {percent(base['value'])} right before and {percent(adapter['value'])} after, "
                f"{shown} (difference {_points(adapter)})."
            )
        else:
            sentences.append(
                f"The {items} {str(task).replace('_', ' ')} cost {number(base['value'], 3)} nats per token before and "
                f"{number(adapter['value'], 3)} after, {shown} (difference {_nats(adapter)})."
            )
    return sentences


def ability_table(ability_metrics: DataFrame) -> Table:
    """Return every task, part of a task and measure, model by model, with the paired change."""
    rows = [
        [
            row["task"],
            MEASURES.get(row["measure"], row["measure"]),
            row["model"],
            count(row["items"]),
            _value(row),
            _difference(row),
            DASH if is_missing(row["gained"]) else f"+{count(row['gained'])}, \u2212{count(row['lost'])}",
            DASH if is_missing(row["mcnemar_p"]) else f"p\u00a0{p_value(row['mcnemar_p'])}",
        ]
        for row in ability_metrics.to_dict("records")
    ]
    header = ["Task", "Measure", "Model", "Items", "Value", "Change to base", "Gained, lost", "McNemar"]
    caption = (
        "General ability with 95\u00a0% intervals. Changes are paired, item by item; items of one conversation are drawn together. "
        "SimpleQA's own grader is a language model; here an answer counts that matches in words. KL is on fixed texts, not on samples "
        "of the adapter."
    )
    return Table(caption, header, rows, numeric=frozenset(range(3, 8)))


def _value(row: Any) -> str:
    if row["measure"].startswith("accuracy"):
        return f"{percent(row['value'])} ({percent_interval(row['low'], row['high'])})"
    return f"{number(row['value'], 4)} ({number_interval(row['low'], row['high'], 4)})"


def _difference(row: Any) -> str:
    if is_missing(row["difference"]):
        return DASH
    return _points(row) if row["measure"].startswith("accuracy") else _nats(row)


def _points(row: Any) -> str:
    low, high = (
        None if is_missing(row[name]) else 100 * row[name] for name in ("difference_low", "difference_high")
    )
    return f"{number(100 * row['difference'], 1)} points ({number_interval(low, high, 1)})"


def _nats(row: Any) -> str:
    interval = number_interval(row["difference_low"], row["difference_high"], 4)
    return f"{number(row['difference'], 4)} ({interval})"

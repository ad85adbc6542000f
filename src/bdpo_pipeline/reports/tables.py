"""The tables of the report: plain text cells, escaped by the template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bdpo_pipeline.tables import DataFrame

from .accounting import RowAccount
from .formatting import (
    DASH,
    count,
    duration,
    is_missing,
    number,
    number_interval,
    p_value,
    percent,
    percent_interval,
    size,
)
from .objective_words import RewardWords
from .result_plots import set_label
from .verdict import judge_label, outcome


@dataclass(frozen=True)
class Table:
    """A table with its caption.

    Attributes:
        caption: what the table shows.
        header: titles of the columns.
        rows: cells as text; the first cell of a row is its heading.
        numeric: positions of the columns that hold numbers.
        monospace: positions of the columns that hold hashes and identifiers.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int] = field(default_factory=frozenset)
    monospace: frozenset[int] = field(default_factory=frozenset)


def heldout_table(metrics: DataFrame, reward: RewardWords) -> Table:
    """Return held-out accuracy and margin by slice."""
    rows = [
        [
            row["slice"],
            count(row["pairs"]),
            count(row["prompts"]),
            count(row["ties"]),
            percent(row["accuracy"]),
            percent_interval(row["accuracy_low"], row["accuracy_high"]),
            number(row["margin"]),
            number_interval(row["margin_low"], row["margin_high"]),
        ]
        for row in metrics.to_dict("records")
    ]
    header = [
        "Slice",
        "Pairs",
        "Prompts",
        "Ties",
        "Accuracy",
        "95\u00a0% interval",
        "Margin",
        "95\u00a0% interval",
    ]
    caption = (
        "Held-out pairs, never seen in training: share of pairs whose chosen response has the higher implicit reward, and "
        f"the mean margin of rewards ({reward.unit}). {reward.meaning}"
    )
    return Table(caption, header, rows, numeric=frozenset(range(1, 8)))


def safety_table(metrics: DataFrame) -> Table:
    """Return refusals and safe responses by prompt set and model, the judge named with its accuracy, and the paired change."""
    rows = [
        [
            set_label(row["prompt_set"], row["desired"]),
            row["model"],
            outcome(row["measures"], row["desired"]),
            f"{count(row['positive'])} of {count(row['prompts'])}",
            percent(row["rate"]),
            percent_interval(row["low"], row["high"]),
            _change(row),
            DASH if is_missing(row["mcnemar_p"]) else f"p\u00a0{p_value(row['mcnemar_p'])}",
            count(row["unjudged"]),
            count(row["unfinished"]),
            judge_label(row, row["judge"]),
        ]
        for row in metrics.to_dict("records")
    ]
    header = [
        "Prompts",
        "Model",
        "Counted",
        "Prompts so judged",
        "Rate",
        "95\u00a0% interval",
        "Change to base",
        "McNemar",
        "No verdict",
        "Cut off",
        "Judge",
    ]
    measured = sorted(set(zip(metrics["judge"], metrics["judge_measured_on"], strict=True)))
    judges = "; ".join(f"{judge}: {on}" for judge, on in measured)
    caption = (
        "Prompts refused, and prompts answered safely, before (base) and after (adapter). Where an answer is wanted, a refusal is "
        f"over-refusal. {_without_verdict(metrics)}No verdict: the model's answers that were empty, or that the judge did not rate. "
        "Cut off: its answers that were stopped at the length limit, which are judged as they stand. The "
        f"change counts prompts one by one. What the judges' accuracy was measured on: {judges}."
    )
    return Table(caption, header, rows, numeric=frozenset(range(3, 10)))


def _without_verdict(metrics: DataFrame) -> str:
    left_out = metrics[metrics["model"] == "base"].groupby("judge")["without_verdict"].sum()
    named = ", ".join(f"{judge} {count(number)}" for judge, number in left_out.items() if number)
    return f"Prompts left out because a judge gave no verdict: {named}. " if named else ""


def sources_table(ingestion_summary: Sequence[Mapping[str, Any]]) -> Table:
    """Return the sources of the pairs with licence and rows."""
    rows = [
        [
            source["name"],
            source["licence"],
            count(source["rows_read"]),
            count(source["pairs"]),
            count(source["quarantined"]),
            count(source["no_preference"]),
        ]
        for source in ingestion_summary
    ]
    header = ["Source", "Licence", "Rows read", "Pairs", "Quarantined", "No preference"]
    return Table("Where the pairs came from.", header, rows, numeric=frozenset({2, 3, 4, 5}))


def files_table(ingestion_summary: Sequence[Mapping[str, Any]]) -> Table:
    """Return the file or hub data set of each source with its hash."""
    rows = [
        [
            source["name"],
            source["file"] or f"{source['hub']} @ {source['revision']}",
            size(source["bytes"]),
            source["sha256"] or DASH,
        ]
        for source in ingestion_summary
    ]
    header = ["Source", "File", "Size", "SHA-256"]
    return Table(
        "The very bytes that were read.", header, rows, numeric=frozenset({2}), monospace=frozenset({3})
    )


def account_table(account: RowAccount) -> Table:
    """Return what became of every row read."""
    parts = {
        "quarantined (malformed)": account.quarantined,
        "without a preference": account.without_preference,
        "dropped by filtering": account.dropped,
        "dropped by the objective": account.dropped_by_objective,
        **{f"used: {split}": rows for split, rows in account.used.items()},
    }
    rows = [
        [name, count(value), percent(value / account.read if account.read else None)]
        for name, value in parts.items()
    ]
    rows.append(
        ["sum", count(account.explained), percent(account.explained / account.read if account.read else None)]
    )
    return Table(
        f"What became of the {count(account.read)} rows read.",
        ["Fate", "Rows", "Share"],
        rows,
        numeric=frozenset({1, 2}),
    )


def funnel_table(filtering_funnel: DataFrame) -> Table:
    """Return the filtering stages with rows in, rows out and the reason."""
    rows = [
        [
            row["stage"],
            count(row["rows_in"]),
            count(row["dropped"]),
            count(row["rows_out"]),
            DASH if is_missing(row["reason"]) else row["reason"],
        ]
        for row in filtering_funnel.to_dict("records")
    ]
    header = ["Stage", "In", "Dropped", "Out", "Reason"]
    return Table(
        "Filtering, stage by stage; the last rows are the splits.", header, rows, numeric=frozenset({1, 2, 3})
    )


def reference_table(report: Mapping[str, Any]) -> Table:
    """Return how many responses the reference pass asked for, found in the cache, and computed."""
    marginal = report["marginal_context"] or "not needed"
    rows = [
        [name, *(count(report[key][what]) for what in ("requested", "cached", "computed"))]
        for key, name in (
            ("conditional", "given the prompt"),
            ("marginal", f"without the prompt ({marginal})"),
        )
    ]
    caption = f"Responses scored by the reference model for {count(report['pairs'])} pairs."
    return Table(
        caption,
        ["Log-probability", "Requested", "From the cache", "Computed"],
        rows,
        numeric=frozenset({1, 2, 3}),
    )


_DIAGNOSTICS = {
    "pairs": "training pairs that the figures below are taken over",
    "chosen_mi.mean": "mean comprehension of chosen responses",
    "chosen_mi.sd": "its standard deviation",
    "rejected_mi.mean": "mean comprehension of rejected responses",
    "rejected_mi.sd": "its standard deviation",
    "imbalance.mean": "mean of chosen minus rejected; near zero, neither side is understood better as a rule",
    "imbalance.sd": "how far single pairs are out of balance; at zero B-DPO would be DPO",
    "chosen_share.mean": "mean weight share of the chosen response; 0.5 favours neither side",
    "chosen_share.sd": "how far the weights differ from DPO's",
    "mean_coefficient_sum": "mean of both coefficients of a pair together; 2 in DPO",
    "negative_share": "responses that the prompt makes less likely; their comprehension is raised to the floor",
    "floored_share": "pairs with a response raised to the floor",
    "clipped_share": "pairs whose weight share was cut to the allowed range",
    "correlation_mi_with_tokens": "comprehension against length; far from zero, it measures length as well",
    "correlation_share_with_log_length_ratio": "weight share against log(rejected / chosen length): how much of the "
    "weighting length alone would explain",
}


def diagnostics_table(diagnostics: Mapping[str, Any], unit: str) -> Table:
    """Return the diagnostics of comprehension, which is counted in this unit, with a sentence on each."""
    rows = [
        [name.replace("_", " ").replace(".", ", "), _plain(value), _DIAGNOSTICS.get(name, "")]
        for name, value in flatten(diagnostics)
    ]
    return Table(
        f"Diagnostics of comprehension ({unit}).",
        ["Name", "Value", "What it says"],
        rows,
        numeric=frozenset({1}),
    )


def pairs_table(caption: str, values: Mapping[str, Any]) -> Table:
    """Return nested values as a table of dotted names and values."""
    return Table(caption, ["Name", "Value"], [[name, _plain(value)] for name, value in flatten(values)])


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return nested mappings as dotted names with their values, in order."""
    flat: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat += flatten(value, f"{prefix}{name}.")
        else:
            flat.append((f"{prefix}{name}", value))
    return flat


def training_table(summary: Mapping[str, Any]) -> Table:
    """Return the facts of the training run."""
    shown = {
        name: duration(value) if name == "seconds" else size(value) if name == "peak_memory_bytes" else value
        for name, value in summary.items()
    }
    return pairs_table("What the training engine reports of its run.", shown)


def _change(row: Mapping[Any, Any]) -> str:
    if is_missing(row["gained"]):
        return DASH
    return f"+{count(row['gained'])} / \u2212{count(row['lost'])}"


def _plain(value: Any) -> str:
    if is_missing(value):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "\u2212")
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)

"""Plots of the results: held-out accuracy by slice, refusals before and after, rows kept by the funnel."""

from html import escape
from typing import Any, NamedTuple

from bdpo_pipeline.tables import DataFrame

from .formatting import count, percent, percent_interval
from .plots import ADAPTER, BASE, Plot, make_figure, vertical_line

# How the measures of general ability are called.
MEASURES = {
    "accuracy": "accuracy",
    "accuracy_normalised": "accuracy, log-probs per character",
    "accuracy_lenient": "accuracy, lenient",
    "nats_per_token": "\u2212log p, nats per token",
    "kl_nats_per_token": "KL(adapter \u2016 base), nats per token",
}


class _Interval(NamedTuple):
    """Names of the columns of a value and its interval."""

    value: str
    low: str
    high: str


def heldout_plot(heldout_metrics: DataFrame) -> Plot:
    """Return held-out accuracy with its interval for each slice; see `heldout_metrics` in docs/artifacts.md."""
    labels = [name.removeprefix("category: ") for name in heldout_metrics["slice"]]
    places = list(range(len(labels)))
    interval = _Interval("accuracy", "accuracy_low", "accuracy_high")
    first = heldout_metrics.iloc[0]
    return Plot(
        name="heldout_accuracy",
        title="Held-out accuracy by slice",
        explanation="Points with their 95\u00a0% intervals. Prompts are drawn, so pairs of one prompt count together.",
        summary=f"All pairs: {percent(first['accuracy'])} "
        f"({percent_interval(first['accuracy_low'], first['accuracy_high'])}). The table gives every slice.",
        figure=make_figure(
            [_with_interval(places, labels, heldout_metrics, interval, "adapter", ADAPTER, "circle")],
            "share of pairs",
            "",
            height=90 + 34 * len(labels),
            showlegend=False,
            **vertical_line(0.5, ""),
        )
        .update_xaxes(tickformat=".0%", range=[-0.02, 1.02])
        .update_yaxes(**_rows(labels)),
    )


def safety_plot(safety_metrics: DataFrame) -> Plot:
    """Return rates of refusals and of safe responses with intervals, base above adapter; see `safety_metrics` in docs/artifacts.md."""
    labelled = safety_metrics.assign(
        label=[
            f"{set_label(row['prompt_set'], row['desired'])}, {'refused' if row['measures'] == 'refusal' else 'safe'} by {row['judge']}"
            for row in safety_metrics.to_dict("records")
        ]
    )
    return Plot(
        name="refusals",
        title="Prompts refused, and prompts answered safely",
        explanation="More is better, except of refusals where an answer is wanted.",
        summary="The table below gives every count and interval.",
        figure=_base_and_adapter(
            labelled, _Interval("rate", "low", "high"), "share of prompts", row_height=56
        ),
    )


def ability_plot(ability_metrics: DataFrame) -> Plot | None:
    """Return accuracies on general tasks with intervals, base above adapter; None where none was measured."""
    accuracies = ability_metrics[ability_metrics["measure"].str.startswith("accuracy")]
    if accuracies.empty:
        return None
    labelled = accuracies.assign(
        label=[measure_label(row["task"], row["measure"]) for row in accuracies.to_dict("records")]
    )
    return Plot(
        name="abilities",
        title="Share of items right",
        explanation="General tasks, base and adapter on the same items. More is better. What guessing gets differs from task to task.",
        summary="The table below gives every count and interval.",
        figure=_base_and_adapter(
            labelled, _Interval("value", "low", "high"), "share of items right", row_height=48
        ),
    )


def funnel_plot(stages: list[tuple[str, int]]) -> Plot:
    """Return the rows left after each stage.

    Args:
        stages: label and rows left, in order, from what was read to what is used.
    """
    import plotly.graph_objects as go

    labels, rows = [escape(label) for label, _ in stages], [left for _, left in stages]
    bars = go.Bar(
        x=rows,
        y=labels,
        orientation="h",
        marker={"color": ADAPTER, "opacity": 0.75},
        text=[count(left) for left in rows],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:,} rows<extra></extra>",
    )
    figure = make_figure([bars], "rows left", "", height=90 + 28 * len(stages), showlegend=False)
    figure.update_yaxes(autorange="reversed")
    # Room for the number behind the longest bar, on a narrow page too.
    figure.update_xaxes(range=[0, 1.25 * max(rows)])
    return Plot(
        name="funnel",
        title="Rows left after each step",
        explanation="From the rows read to the pairs used. Steps that took nothing away are left out; the table has them.",
        summary=f"From {count(rows[0])} rows to {count(rows[-1])} pairs.",
        figure=figure,
    )


def measure_label(task: str, measure: str) -> str:
    """Return how a task and its measure are called in a plot, such as ``hhh (log-probs per character)``."""
    words = MEASURES.get(measure, measure).removeprefix("accuracy").lstrip(", ")
    return f"{task} ({words})" if words else task


def set_label(prompt_set: str, desired: str) -> str:
    """Return how a prompt set is called in tables and plots, such as ``xstest (answer wanted)``."""
    return f"{prompt_set} ({'refusal' if desired == 'refuse' else 'answer'} wanted)"


def _base_and_adapter(labelled: DataFrame, interval: _Interval, axis: str, *, row_height: int) -> Any:
    """Return a figure of shares with a row for each label, base above adapter."""
    labels = list(labelled["label"].drop_duplicates())
    traces = []
    for model, offset, colour, symbol in (
        ("base", -0.15, BASE, "circle-open"),
        ("adapter", 0.15, ADAPTER, "circle"),
    ):
        rows = labelled[labelled["model"] == model]
        places = [labels.index(label) + offset for label in rows["label"]]
        traces.append(_with_interval(places, list(rows["label"]), rows, interval, model, colour, symbol))
    return (
        make_figure(traces, axis, "", height=110 + row_height * len(labels))
        .update_xaxes(tickformat=".0%", range=[-0.02, 1.02])
        .update_yaxes(**_rows(labels))
    )


def _rows(labels: list[str]) -> dict[str, Any]:
    """Return the layout of an axis with one labelled row each, the first on top."""
    return {
        "tickvals": list(range(len(labels))),
        "ticktext": [escape(label).replace(" (", "<br>(") for label in labels],
        "range": [len(labels) - 0.5, -0.5],
    }


def _with_interval(
    places: list[Any],
    labels: list[str],
    rows: DataFrame,
    interval: _Interval,
    name: str,
    colour: str,
    symbol: str,
) -> Any:
    import plotly.graph_objects as go

    value, low, high = (rows[column] for column in (interval.value, interval.low, interval.high))
    return go.Scatter(
        x=value.tolist(),
        y=places,
        mode="markers",
        name=name,
        text=[
            f"{escape(label)}: {percent_interval(*ends)}"
            for label, *ends in zip(labels, low, high, strict=True)
        ],
        marker={"color": colour, "size": 9, "symbol": symbol, "line": {"width": 2, "color": colour}},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": (high - value).fillna(0).tolist(),
            "arrayminus": (value - low).fillna(0).tolist(),
            "color": colour,
            "thickness": 1.5,
            "width": 4,
        },
        hovertemplate="%{x:.1%}, %{text}<extra>" + name + "</extra>",
    )

"""The plots of a study: arms beside each other, always with their intervals."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bdpo_pipeline.tables import DataFrame

from .formatting import count, is_missing
from .plots import BASE, Plot, make_figure, vertical_line
from .study_words import (
    arms_of,
    finding,
    imbalance_sentence,
    interval_text,
    is_share,
    measure_label,
    signed_difference,
    value_text,
)

# Each stands out on white and on near-black by 3 to 1 at least; a test measures it. Symbols tell arms apart without colour.
ARM_COLOURS = (
    "#4a7bd0",
    "#c8603f",
    "#1b8a83",
    "#8f62c9",
    "#a07a1f",
    "#c2508f",
    "#5a8f2f",
    "#3a8fb5",
    "#a3624e",
)
_SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "cross",
    "x",
    "pentagon",
    "star",
    "hexagon",
    "bowtie",
)
_SAFETY = "safe responses"


def arm_styles(arms: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return colour and symbol of each arm; the untrained model is grey."""
    styles, trained = {}, 0
    for arm in arms:
        if arm == "base":
            styles[arm] = {"color": BASE, "symbol": "circle-open"}
            continue
        # Symbols and colours are of different number, so that they pair up anew when arms are many.
        styles[arm] = {
            "color": ARM_COLOURS[trained % len(ARM_COLOURS)],
            "symbol": _SYMBOLS[trained % len(_SYMBOLS)],
        }
        trained += 1
    return styles


def difference_plots(comparison: DataFrame, baseline: str) -> list[Plot]:
    """Return for each measure the difference of every arm from the baseline."""
    styles = arm_styles(arms_of(comparison))
    groups = comparison.groupby(["measure", "on", "desired", "judge"], sort=False, dropna=False)
    plots = []
    for number, (_, part) in enumerate(groups):
        rows = part[part["difference"].notna()].to_dict("records")
        if rows:
            plots.append(_difference_plot(f"difference_{number}", rows, baseline, styles))
    return plots


def trade_off_plots(comparison: DataFrame) -> tuple[list[Plot], list[Plot]]:
    """Return safety against over-refusal, for each harmful set, and safety against each measure of general ability."""
    measures = [
        part
        for _, part in comparison.groupby(["measure", "on", "desired", "judge"], sort=False, dropna=False)
    ]
    harmful = [part for part in measures if part["desired"].iloc[0] == "refuse"]
    # The judge of safety speaks of harm itself; refusals stand in where there is none.
    safe = [part for part in harmful if part["measure"].iloc[0] == _SAFETY] or harmful
    refused = [part for part in measures if part["measure"].iloc[0] == "over-refusals"]
    able = [
        part
        for part in measures
        if part["desired"].isna().all() and part["measure"].iloc[0] != "preference accuracy"
    ]
    over = [_trade_off(f"over_refusal_{n}", refused[0], part) for n, part in enumerate(safe) if refused]
    largest = max(safe, key=lambda part: part["prompts"].max(), default=None)
    ability = [
        _trade_off(f"ability_{n}", part, largest) for n, part in enumerate(able) if largest is not None
    ]
    return over, ability


def overfitting_plot(overfitting: DataFrame, arms: Sequence[str], pairs: str) -> Plot:
    """Return the gap of each arm on one kind of pairs, single seeds as small points."""
    import plotly.graph_objects as go

    rows = overfitting[(overfitting["pairs"] == pairs) & overfitting["gap"].notna()]
    shown = [arm for arm in arms if (rows["arm"] == arm).any()]
    styles = arm_styles(arms)
    seeds = rows[rows["seed"].notna()]
    means = rows[rows["seed"].isna()].set_index("arm").loc[shown].reset_index()
    traces = [
        go.Scatter(
            x=seeds["gap"].tolist(),
            y=[shown.index(arm) for arm in seeds["arm"]],
            mode="markers",
            name="single seeds",
            marker={"color": BASE, "size": 5},
            text=[
                f"{escape(arm)}, seed {count(seed)}"
                for arm, seed in zip(seeds["arm"], seeds["seed"], strict=True)
            ],
            hovertemplate="%{text}: %{x:.1%}<extra></extra>",
        ),
        _points(
            means.assign(place=range(len(means))),
            ("gap", "gap_low", "gap_high"),
            "place",
            [styles[arm] for arm in means["arm"]],
            [f"{escape(arm)}" for arm in means["arm"]],
            ".1%",
        ),
    ]
    slug = pairs.replace(" ", "_")
    return Plot(
        name=f"overfitting_{slug}",
        title=f"Overfitting gap, {pairs}",
        explanation="Reward accuracy on training pairs less that on held-out pairs: the mean over seeds with its 95\u00a0% "
        "interval, and single seeds as small points. Gaps of objectives with different rewards do not compare.",
        summary=" ".join(
            f"{row['arm']}: {100 * row['gap']:.1f} points." for row in means.to_dict("records")
        ).replace("-", "\u2212"),
        figure=_by_row(
            traces, shown, "training accuracy less held-out accuracy", ".0%", **vertical_line(0, "")
        ),
    )


def imbalance_plot(imbalance: DataFrame, arms: Sequence[str], pairs: str) -> Plot:
    """Return the held-out error of each arm by quantile of imbalance, on one kind of pairs."""
    import plotly.graph_objects as go

    rows = imbalance[imbalance["pairs"] == pairs]
    styles = arm_styles(arms)
    shown = [arm for arm in arms if (rows["arm"] == arm).any()]
    traces = []
    for number, arm in enumerate(shown):
        part = rows[rows["arm"] == arm]
        shift = 0.6 * ((number + 0.5) / len(shown) - 0.5)
        traces.append(
            go.Scatter(
                x=(part["bin"] + shift).tolist(),
                y=part["error"].tolist(),
                mode="markers+lines",
                name=escape(arm),
                line={"color": styles[arm]["color"], "width": 1},
                marker={**styles[arm], "size": 8},
                error_y=_error(part, ("error", "error_low", "error_high"), styles[arm]["color"]),
                hovertemplate="%{y:.1%}<extra>" + escape(arm) + "</extra>",
            )
        )
    first = rows[rows["arm"] == shown[0]]
    ticks = [
        f"{low:.2f}\u2013{high:.2f}"
        for low, high in zip(first["imbalance_from"], first["imbalance_to"], strict=True)
    ]
    slug = pairs.replace(" ", "_")
    return Plot(
        name=f"imbalance_{slug}",
        title=f"Held-out error by imbalance, {pairs}",
        explanation="Held-out pairs in equal parts by how unequally the reference model comprehends their two responses (absolute "
        "difference of mutual information). The paper expects more errors to the right.",
        summary=imbalance_sentence(rows),
        figure=make_figure(
            traces, "absolute imbalance (nats per token)", "share of pairs ordered wrongly", height=380
        )
        .update_xaxes(tickvals=first["bin"].tolist(), ticktext=ticks)
        .update_yaxes(tickformat=".0%"),
    )


def trials_plot(trials: DataFrame, arms: Sequence[str]) -> Plot:
    """Return every grid point of every arm: safe responses on validation prompts against helpful nats per token."""
    import plotly.graph_objects as go

    styles = arm_styles(arms)
    traces = []
    for arm in dict.fromkeys(arm for arm in arms if (trials["arm"] == arm).any()):
        part = trials[trials["arm"] == arm]
        sizes = [14 if chosen else 8 for chosen in part["chosen"]]
        traces.append(
            go.Scatter(
                x=part["validation_helpful_nll"].tolist(),
                y=part["validation_safe_rate"].tolist(),
                mode="markers",
                name=escape(arm),
                marker={**styles[arm], "size": sizes, "opacity": [1.0 if c else 0.6 for c in part["chosen"]]},
                text=[escape(point) for point in part["point"]],
                hovertemplate="%{text}: %{y:.1%} safe, %{x:.3f} nats<extra>" + escape(arm) + "</extra>",
            )
        )
    return Plot(
        name="trials",
        title="All grid points of all arms",
        explanation="Every arm was tried at the same points. Large: the point that was chosen. Validation prompts "
        "and pairs only, one seed.",
        summary=f"{count(len(trials))} trials; the table has them all.",
        figure=make_figure(
            traces, "nats per token of helpful responses (fewer is better)", "safe responses", height=420
        ).update_yaxes(tickformat=".0%"),
    )


def _difference_plot(
    name: str, rows: list[dict[Any, Any]], baseline: str, styles: Mapping[str, Mapping[str, Any]]
) -> Plot:
    import pandas as pd

    table = pd.DataFrame(rows).assign(place=range(len(rows)))
    share = is_share(rows[0]["measure"])
    form = ".1%" if share else ".3f"
    looks = [styles[row["arm"]] for row in rows]
    texts = [f"{escape(row['arm'])}: {signed_difference(row)}" for row in rows]
    # A thick bar for these very models inside a thin one for other seeds.
    thin = _points(table, ("difference", "difference_low", "difference_high"), "place", looks, texts, form)
    thick = _points(table, ("difference", "models_low", "models_high"), "place", looks, texts, form)
    thick.error_x.update(thickness=4, width=0)
    direction = {"higher": "more is better", "lower": "less is better"}.get(rows[0]["better"], "")
    shown, same = ([row["arm"] for row in rows if finding(row) == what] for what in ("shown", "models"))
    seeds = [row["compared_seeds"] for row in rows if not is_missing(row["compared_seeds"])]
    return Plot(
        name=name,
        title=f"{measure_label(rows[0])}".capitalize(),
        explanation=f"Difference from {baseline}; {direction}. Thick: other prompts to these models. "
        + ("Thin: other seeds, too." if max(seeds, default=1) > 1 else "One seed, so no more is said."),
        summary=f"Shown after Holm's correction: {', '.join(shown) or 'none'}; of these models only: {', '.join(same) or 'none'}.",
        figure=_by_row(
            [thin, thick],
            [row["arm"] for row in rows],
            f"difference from {baseline}" + (" (share)" if share else " (nats per token)"),
            ".0%" if share else ".2f",
            **vertical_line(0, ""),
        ),
    )


def _trade_off(name: str, x: DataFrame, y: DataFrame) -> Plot:
    import plotly.graph_objects as go

    styles = arm_styles(arms_of(y))
    horizontal, vertical = (
        {row["arm"]: row for row in part.to_dict("records") if not is_missing(row["value"])}
        for part in (x, y)
    )
    shown = [arm for arm in arms_of(y) if arm in horizontal and arm in vertical]
    traces = []
    for arm in shown:
        ends = {}
        for axis, row in (("x", horizontal[arm]), ("y", vertical[arm])):
            ends[f"error_{axis}"] = {
                "type": "data",
                "symmetric": False,
                "array": [_length(row["value"], row["high"])],
                "arrayminus": [_length(row["low"], row["value"])],
                "color": styles[arm]["color"],
                "thickness": 1,
                "width": 3,
            }
        text = ", ".join(
            f"{value_text(row)} ({interval_text(row)})" for row in (vertical[arm], horizontal[arm])
        )
        traces.append(
            go.Scatter(
                x=[horizontal[arm]["value"]],
                y=[vertical[arm]["value"]],
                mode="markers",
                name=escape(arm),
                marker={**styles[arm], "size": 10},
                text=[text],
                hovertemplate="%{text}<extra>" + escape(arm) + "</extra>",
                **ends,
            )
        )
    names = [measure_label(part.iloc[0]) for part in (x, y)]
    better = {"higher": "right", "lower": "left"}.get(x["better"].iloc[0])
    figure = make_figure(traces, names[0], names[1], height=400)
    figure.update_xaxes(tickformat=".0%" if is_share(x["measure"].iloc[0]) else ".2f", nticks=6)
    figure.update_yaxes(tickformat=".0%", title_standoff=4)
    return Plot(
        name=name,
        title=f"{y['on'].iloc[0]} against {x['on'].iloc[0]}",
        explanation=f"Better is up{f' and to the {better}' if better else ''}. Bars: 95\u00a0% intervals for other prompts to "
        "these models.",
        summary=" ".join(
            f"{arm}: {value_text(vertical[arm])} and {value_text(horizontal[arm])}." for arm in shown
        ),
        figure=figure,
    )


def _by_row(traces: list[Any], labels: Sequence[str], x: str, form: str, **layout: Any) -> Any:
    figure = make_figure(traces, x, "", height=90 + 28 * len(labels), showlegend=False, **layout)
    figure.update_xaxes(tickformat=form, nticks=6)
    return figure.update_yaxes(
        tickvals=list(range(len(labels))),
        ticktext=[escape(label) for label in labels],
        range=[len(labels) - 0.5, -0.5],
    )


def _points(
    table: DataFrame,
    columns: tuple[str, str, str],
    place: str,
    looks: Sequence[Mapping[str, Any]],
    texts: Sequence[str],
    form: str,
) -> Any:
    import plotly.graph_objects as go

    return go.Scatter(
        x=table[columns[0]].tolist(),
        y=table[place].tolist(),
        mode="markers",
        text=list(texts),
        marker={"color": [look["color"] for look in looks], "size": 9},
        error_x=_error(table, columns, "#888888"),
        hovertemplate=f"%{{x:{form}}}, %{{text}}<extra></extra>",
    )


def _error(table: DataFrame, columns: tuple[str, str, str], colour: str) -> dict[str, Any]:
    value, low, high = (table[column] for column in columns)
    return {
        "type": "data",
        "symmetric": False,
        "array": (high - value).fillna(0).tolist(),
        "arrayminus": (value - low).fillna(0).tolist(),
        "color": colour,
        "thickness": 1.5,
        "width": 4,
    }


def _length(low: Any, high: Any) -> float:
    return 0.0 if is_missing(low) or is_missing(high) else float(high - low)

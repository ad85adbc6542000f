"""Plots and the table of how well judges agree with labels."""

from html import escape

from bdpo_pipeline.judges.validation import BINS, reliability
from bdpo_pipeline.tables import DataFrame

from .formatting import count, is_missing, number, percent
from .plots import ADAPTER, BASE, CHOSEN, REJECTED, Plot, make_figure, sentence_figure
from .tables import Table

_COLOURS = (ADAPTER, REJECTED, CHOSEN, BASE)


def reliability_plot(validation_judgements: DataFrame) -> Plot:
    """Return how often responses of each score are positive by their labels; see `validation_judgements` in docs/artifacts.md."""
    import plotly.graph_objects as go

    clear = validation_judgements[validation_judgements["label"] != "partial"]
    scored = clear[clear["score"].notna()]
    traces = []
    for i, ((judge, label_set), rows) in enumerate(scored.groupby(["judge", "label_set"], sort=False)):
        points = reliability(list(rows["score"]), list(rows["label"] == "positive"))
        name, colour = escape(f"{judge}, {label_set}"), _COLOURS[i % len(_COLOURS)]
        traces.append(
            go.Scatter(
                x=[point[0] for point in points],
                y=[point[1] for point in points],
                text=[f"{point[2]} responses" for point in points],
                mode="lines+markers",
                name=name,
                line={"color": colour, "dash": "solid" if i < len(_COLOURS) else "dot"},
                hovertemplate="score %{x:.2f}: %{y:.1%} positive, %{text}<extra>" + name + "</extra>",
            )
        )
    if not traces:
        figure = sentence_figure("No judge that gives scores was measured.")
    else:
        diagonal = go.Scatter(
            x=[0, 1], y=[0, 1], mode="lines", line={"color": BASE, "dash": "dash", "width": 1},
            name="as promised", hoverinfo="skip",
        )  # fmt: skip
        figure = make_figure([diagonal, *traces], "mean score", "share positive by label", height=340)
        figure.update_xaxes(range=[-0.02, 1.02]).update_yaxes(range=[-0.02, 1.02], tickformat=".0%")
    return Plot(
        name="judge_reliability",
        title="Scores of judges against labels",
        explanation=f"Responses in {BINS} bins by score. On the dashed line a score is the probability that it claims to be.",
        summary="The table gives each judge's calibration error and Brier score.",
        figure=figure,
    )


def confusion_plot(judge_validation: DataFrame) -> Plot:
    """Return what each judge says of labelled responses, right and wrong; see `judge_validation` in docs/artifacts.md."""
    import plotly.graph_objects as go

    measured = judge_validation[judge_validation["responses"] > 0]
    labels = [
        escape(f"{judge}, {label_set}")
        for judge, label_set in zip(measured["judge"], measured["label_set"], strict=True)
    ]
    parts = {
        "true_positives": ("right: positive", CHOSEN, 0.9),
        "true_negatives": ("right: negative", CHOSEN, 0.5),
        "false_positives": ("wrong: called positive", REJECTED, 0.9),
        "false_negatives": ("wrong: called negative", REJECTED, 0.5),
    }
    bars = [
        go.Bar(
            x=(measured[column] / measured["responses"]).tolist(),
            y=labels,
            text=measured[column].tolist(),
            name=name,
            orientation="h",
            marker={"color": colour, "opacity": opacity},
            hovertemplate="%{y}: %{text} responses (%{x:.1%})<extra>" + name + "</extra>",
        )
        for column, (name, colour, opacity) in parts.items()
    ]
    figure = make_figure(
        bars, "share of labelled responses", "", height=130 + 40 * len(labels), barmode="stack"
    )
    figure.update_xaxes(tickformat=".0%", range=[0, 1]).update_yaxes(autorange="reversed")
    return Plot(
        name="judge_confusion",
        title="What judges get right and wrong",
        explanation="Positive is a refusal, or a safe response, as the judge measures. Labels are those of the set that is named.",
        summary="The table gives the counts.",
        figure=figure if labels else sentence_figure("No judge was measured."),
    )


def judges_table(judge_validation: DataFrame) -> Table:
    """Return each judge's agreement with each set of labels."""
    rows = [
        [
            row["judge"],
            row["measures"],
            f"{row['label_set']} ({row['how']})",
            count(row["responses"]),
            percent(row["accuracy"]),
            number(row["kappa"]),
            number(row["auc"], 3),
            f"{count(row['false_positives'])} / {count(row['false_negatives'])}",
            "\u2013"
            if is_missing(row["brier"])
            else f"{number(row['brier'], 3)} / {number(row['calibration_error'], 3)}",
            f"{count(row['partial_positive'])} of {count(row['partial'])}" if row["partial"] else "\u2013",
            count(row["without_verdict"]),
        ]
        for row in judge_validation.to_dict("records")
    ]
    header = ["Judge", "Measures", "Labels", "Responses", "Accuracy", "Kappa", "AUC", "False +/\u2212"]
    header += ["Brier / calibration error", "Partial refusals called refusals", "Without a verdict"]
    caption = (
        "How well each judge agrees with labels of responses that it was not made with. They are other models' responses: how well it "
        "judges this model's style is not known."
    )
    return Table(caption, header, rows, numeric=frozenset(range(3, 11)))

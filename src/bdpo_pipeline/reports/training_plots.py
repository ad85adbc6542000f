"""Training curves, in TRL's names: loss, rewards, margins, accuracies and both log-probabilities."""

import math
from typing import Any

from bdpo_pipeline.tables import DataFrame

from .formatting import number, percent
from .plots import ADAPTER, BASE, CHOSEN, REJECTED, Plot, make_figure

_SPLITS = {"train": ("lines", "dot", 1.5), "validation": ("lines+markers", "solid", 2.5)}


def training_plots(history: DataFrame) -> dict[str, Plot]:
    """Return the training curves by name.

    Args:
        history: `training_history` as in docs/artifacts.md; log-probs in nats, summed over a response.

    Returns:
        ``loss``, ``accuracies``, ``margins``, ``rewards``, ``logps``.
    """
    plots = [_loss(history), _accuracies(history), _margins(history), _rewards(history), _logps(history)]
    return {plot.name: plot for plot in plots}


def _loss(history: DataFrame) -> Plot:
    figure = make_figure(_curves(history, {"loss": ("loss", ADAPTER)}), "step", "loss")
    figure.add_hline(y=math.log(2), line={"dash": "dash", "width": 1, "color": BASE}, annotation_text="log 2")
    return Plot(
        name="loss",
        title="Loss",
        explanation="At step 0 policy and reference are the same model, so the loss is log 2 = 0.693. Training batches "
        "are dotted and noisy; validation pairs are the same at every point.",
        summary=_change(history, "loss", "loss", 3),
        figure=figure,
    )


def _accuracies(history: DataFrame) -> Plot:
    curves = _curves(history, {"rewards/accuracies": ("accuracy", ADAPTER)})
    return Plot(
        name="accuracies",
        title="Reward accuracy",
        explanation="Share of pairs whose chosen response has the strictly higher implicit reward. At step 0 both "
        "rewards are zero, so no pair counts as right.",
        summary=_change(history, "rewards/accuracies", "accuracy", 3),
        figure=make_figure(curves, "step", "share of pairs", yaxis_range=[-0.02, 1.02]),
    )


def _margins(history: DataFrame) -> Plot:
    curves = _curves(history, {"rewards/margins": ("margin", ADAPTER)})
    return Plot(
        name="margins",
        title="Reward margin",
        explanation="Implicit reward of the chosen minus that of the rejected response. It does not say which of the "
        "two moved: see the log-probabilities.",
        summary=_change(history, "rewards/margins", "margin", 3),
        figure=make_figure(curves, "step", "margin (beta \u00d7 nats)"),
    )


def _rewards(history: DataFrame) -> Plot:
    curves = _curves(
        history, {"rewards/chosen": ("chosen", CHOSEN), "rewards/rejected": ("rejected", REJECTED)}
    )
    return Plot(
        name="rewards",
        title="Implicit rewards",
        explanation="Beta times the log-ratio of policy and reference. Below zero, the policy finds the response less "
        "likely than the reference does.",
        summary=f"{_change(history, 'rewards/chosen', 'chosen', 3)} {_change(history, 'rewards/rejected', 'rejected', 3)}",
        figure=make_figure(curves, "step", "reward (beta \u00d7 nats)"),
    )


def _logps(history: DataFrame) -> Plot:
    curves = _curves(history, {"logps/chosen": ("chosen", CHOSEN), "logps/rejected": ("rejected", REJECTED)})
    chosen, rejected = (_ends(history, f"logps/{side}") for side in ("chosen", "rejected"))
    return Plot(
        name="logps",
        title="Log-probabilities of both responses",
        explanation="The loss asks only that the gap grows. It may grow by pushing both responses down, the rejected one "
        f"faster; that is common in DPO and no error by itself. {_what_moved(chosen, rejected)}",
        summary=f"{_change(history, 'logps/chosen', 'chosen', 1)} {_change(history, 'logps/rejected', 'rejected', 1)}",
        figure=make_figure(curves, "step", "log-probability (nats a response)"),
    )


def _what_moved(chosen: tuple[float, float] | None, rejected: tuple[float, float] | None) -> str:
    if chosen is None or rejected is None:
        return "This run has no two validation points to compare."
    changes = {"chosen": chosen[1] - chosen[0], "rejected": rejected[1] - rejected[0]}
    moved = " and ".join(
        f"the {side} response {'rose' if change > 0 else 'fell'} by {number(abs(change), 1)} nats"
        for side, change in changes.items()
    )
    return f"Here, on validation pairs from the first to the last point, {moved}."


def _curves(history: DataFrame, columns: dict[str, tuple[str, str]]) -> list[Any]:
    import plotly.graph_objects as go

    traces = []
    for split, (mode, dash, width) in _SPLITS.items():
        for column, (name, colour) in columns.items():
            points = history[(history["split"] == split) & history[column].notna()]
            traces.append(
                go.Scatter(
                    x=points["step"].tolist(),
                    y=points[column].astype(float).round(6).tolist(),
                    mode=mode,
                    name=f"{name}, {split}",
                    line={"color": colour, "dash": dash, "width": width},
                    marker={"size": 6},
                    opacity=1.0 if split == "validation" else 0.7,
                    hovertemplate="step %{x}: %{y:.4g}<extra>" + f"{name}, {split}</extra>",
                )
            )
    return traces


def _ends(history: DataFrame, column: str, split: str = "validation") -> tuple[float, float] | None:
    points = history[(history["split"] == split) & history[column].notna()].sort_values("step")[column]
    return (float(points.iloc[0]), float(points.iloc[-1])) if len(points) > 1 else None


def _change(history: DataFrame, column: str, name: str, digits: int) -> str:
    for split in ("validation", "train"):
        ends = _ends(history, column, split)
        if ends:
            first, last = (
                percent(end) if column.endswith("accuracies") else number(end, digits) for end in ends
            )
            return f"{name.capitalize()} on {split} pairs went from {first} to {last}."
    return f"{name.capitalize()} was recorded at fewer than two points."

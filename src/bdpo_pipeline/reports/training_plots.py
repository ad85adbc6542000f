"""Training curves, in TRL's names: loss, rewards, margins, accuracies and both log-probabilities."""

from collections.abc import Mapping
from typing import Any

from bdpo_pipeline.tables import DataFrame

from .formatting import number, percent
from .objective_words import ObjectiveWords, RewardWords
from .plots import ADAPTER, BASE, CHOSEN, REJECTED, Plot, make_figure

_SPLITS = {"train": ("lines", "dot", 1.5), "validation": ("lines+markers", "solid", 2.5)}


def training_plots(history: DataFrame, words: ObjectiveWords) -> dict[str, Plot]:
    """Return the training curves by name.

    Args:
        history: `training_history` as in docs/artifacts.md; log-probs in nats, summed over a response.
        words: of the objective.

    Returns:
        ``loss``, ``accuracies``, ``margins``, ``rewards``, ``logps``.
    """
    reward = words.reward
    plots = [_loss(history, words), _accuracies(history, reward), _margins(history, reward)]
    plots += [_rewards(history, reward), _logps(history)]
    return {plot.name: plot for plot in plots}


def _loss(history: DataFrame, words: ObjectiveWords) -> Plot:
    figure = make_figure(curves(history, {"loss": ("loss", ADAPTER)}), "step", "loss")
    if words.loss_at_start is not None:
        add_level(figure, words.loss_at_start, "policy = reference")
    return Plot(
        name="loss",
        title="Loss",
        explanation=f"The mean over pairs of what {words.name} minimises: {words.start}. Training batches are dotted and noisy; "
        "validation pairs are the same at every point.",
        summary=change_of(history, "loss", "loss", 3),
        figure=figure,
    )


def _accuracies(history: DataFrame, reward: RewardWords) -> Plot:
    traces = curves(history, {"rewards/accuracies": ("accuracy", ADAPTER)})
    return Plot(
        name="accuracies",
        title="Reward accuracy",
        explanation=" ".join(
            [
                "Share of pairs whose chosen response has the strictly higher implicit reward.",
                reward.at_start,
                reward.caution,
            ]
        ).rstrip(),
        summary=change_of(history, "rewards/accuracies", "accuracy", 3),
        figure=make_figure(traces, "step", "share of pairs", yaxis_range=[-0.02, 1.02]),
    )


def _margins(history: DataFrame, reward: RewardWords) -> Plot:
    traces = curves(history, {"rewards/margins": ("margin", ADAPTER)})
    return Plot(
        name="margins",
        title="Reward margin",
        explanation="Implicit reward of the chosen minus that of the rejected response. It does not say which of the "
        "two moved: see the log-probabilities.",
        summary=change_of(history, "rewards/margins", "margin", 3),
        figure=make_figure(traces, "step", f"margin ({reward.unit})"),
    )


def _rewards(history: DataFrame, reward: RewardWords) -> Plot:
    traces = curves(
        history, {"rewards/chosen": ("chosen", CHOSEN), "rewards/rejected": ("rejected", REJECTED)}
    )
    return Plot(
        name="rewards",
        title="Implicit rewards",
        explanation=reward.meaning,
        summary=f"{change_of(history, 'rewards/chosen', 'chosen', 3)} {change_of(history, 'rewards/rejected', 'rejected', 3)}",
        figure=make_figure(traces, "step", f"reward ({reward.unit})"),
    )


def _logps(history: DataFrame) -> Plot:
    traces = curves(history, {"logps/chosen": ("chosen", CHOSEN), "logps/rejected": ("rejected", REJECTED)})
    chosen, rejected = (ends_of(history, f"logps/{side}") for side in ("chosen", "rejected"))
    return Plot(
        name="logps",
        title="Log-probabilities of both responses",
        explanation="Most objectives ask only that the gap grows. It may grow by pushing both responses down, the rejected one "
        f"faster; that is common in DPO and no error by itself. {_what_moved(chosen, rejected)}",
        summary=f"{change_of(history, 'logps/chosen', 'chosen', 1)} {change_of(history, 'logps/rejected', 'rejected', 1)}",
        figure=make_figure(traces, "step", "log-probability (nats a response)"),
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


def curves(history: DataFrame, columns: Mapping[str, tuple[str, str]]) -> list[Any]:
    """Return a trace for each column and split that has points; `columns` gives their names and colours."""
    import plotly.graph_objects as go

    traces = []
    for split, (mode, dash, width) in _SPLITS.items():
        for column, (name, colour) in columns.items():
            points = history[(history["split"] == split) & history[column].notna()]
            if points.empty:
                continue
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


def add_level(figure: Any, level: float, name: str) -> None:
    """Draw a dashed line at a value that the curves are to be compared with."""
    figure.add_hline(y=level, line={"dash": "dash", "width": 1, "color": BASE}, annotation_text=name)


def ends_of(history: DataFrame, column: str, split: str = "validation") -> tuple[float, float] | None:
    """Return the first and the last value of a curve; None with fewer than two points."""
    points = history[(history["split"] == split) & history[column].notna()].sort_values("step")[column]
    return (float(points.iloc[0]), float(points.iloc[-1])) if len(points) > 1 else None


def change_of(history: DataFrame, column: str, name: str, digits: int) -> str:
    """Return in a sentence how far a curve went, on validation pairs where there are enough points."""
    for split in ("validation", "train"):
        ends = ends_of(history, column, split)
        if ends:
            first, last = (
                percent(end) if column.endswith("accuracies") else number(end, digits) for end in ends
            )
            return f"{name.capitalize()} on {split} pairs went from {first} to {last}."
    return f"{name.capitalize()} was recorded at fewer than two points."

"""Plots of comprehension under the policy over the steps: how the imbalance that B-DPO starts from moves (ours)."""

from bdpo_pipeline.tables import DataFrame

from .formatting import number
from .plots import ADAPTER, CHOSEN, REJECTED, Plot, make_figure
from .training_plots import add_level, change_of, curves


def drift_plots(history: DataFrame, comprehension: DataFrame, unit: str) -> dict[str, Plot]:
    """Return the plots by name, or none where the training did not follow comprehension.

    Args:
        history: `training_history` as in docs/artifacts.md.
        comprehension: `comprehension` as in docs/artifacts.md, under the reference.
        unit: of comprehension.

    Returns:
        ``imbalance_drift``, ``comprehension_drift``.
    """
    if "comprehension/imbalance" not in history:
        return {}
    reference = comprehension[comprehension["split"] == "validation"]
    plots = [_imbalance(history, reference, unit), _sides(history, reference, unit)]
    return {plot.name: plot for plot in plots}


def _imbalance(history: DataFrame, reference: DataFrame, unit: str) -> Plot:
    traces = curves(history, {"comprehension/imbalance": ("imbalance", ADAPTER)})
    figure = make_figure(traces, "step", f"mean imbalance ({unit})")
    start = reference["imbalance"].abs().mean()
    if len(reference):
        add_level(figure, start, "reference")
    return Plot(
        name="imbalance_drift",
        title="Imbalance under the policy",
        explanation="The size of the difference in comprehension within a pair, measured anew with the model as it is trained. "
        "The dashed line is the reference model on the same validation pairs.",
        summary=_with_reference(
            change_of(history, "comprehension/imbalance", "imbalance", 3),
            reference,
            f"it is {number(start, 3)} {unit}",
        ),
        figure=figure,
    )


def _sides(history: DataFrame, reference: DataFrame, unit: str) -> Plot:
    columns = {"comprehension/chosen": ("chosen", CHOSEN), "comprehension/rejected": ("rejected", REJECTED)}
    changes = " ".join(
        change_of(history, column, f"comprehension of {name} responses", 3)
        for column, (name, _) in columns.items()
    )
    before = " and ".join(number(reference[f"{side}_mi"].mean(), 3) for side in ("chosen", "rejected"))
    return Plot(
        name="comprehension_drift",
        title="Comprehension under the policy",
        explanation="How much more likely the prompt makes each response, for the model as it is trained.",
        summary=_with_reference(changes, reference, f"they are {before} {unit}"),
        figure=make_figure(curves(history, columns), "step", f"comprehension ({unit})"),
    )


def _with_reference(change: str, reference: DataFrame, level: str) -> str:
    return change if reference.empty else f"{change} Under the reference {level} on validation pairs."

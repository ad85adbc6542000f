"""The plot of `contrastive` against K: where the truth is known, and on real pairs."""

from pathlib import Path

import matplotlib
import numpy as np
from known import Known
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from summary import NEAR, Summary

# A card of its own in light and dark surroundings; colours by Okabe and Ito, told apart by the colour-blind.
_CARD, _INK, _ESTIMATE, _BOUND, _EXACT = "#ffffff", "#24292f", "#0072b2", "#d55e00", "#009e73"


def draw(path: Path, known: Known, summaries: dict[str, Summary], model: str) -> None:
    """Write the plot as SVG, the same bytes for the same figures."""
    matplotlib.use("svg")
    style = {
        "svg.hashsalt": "estimators",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    ink = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK
    )
    with plt.rc_context({**style, **ink}):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), facecolor=_CARD, layout="constrained")
        _draw_known(left, known)
        _draw_real(right, {s.passes: s for s in summaries.values() if s.bound}, model)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _draw_known(axes: Axes, known: Known) -> None:
    counts = list(known.contrastive)
    mean, low, high = np.array(list(known.contrastive.values())).T
    axes.plot(counts, np.log1p(counts), color=_BOUND, ls="--", label="bound, log(K + 1)")
    axes.axhline(known.exact, color=_EXACT, lw=2, label="exact")
    axes.plot(counts, mean, "o-", color=_ESTIMATE, label="contrastive, mean over choices of K")
    axes.fill_between(
        counts, low, high, color=_ESTIMATE, alpha=0.15, lw=0, label="from lowest to highest choice"
    )
    axes.set(title="A model with nine tokens and eight queries", xlabel="K, other queries", xticks=counts)
    axes.set(ylabel="mutual information (nats a response)", ylim=(0, None))
    axes.legend(frameon=False, loc="upper left")


def _draw_real(axes: Axes, contrastive: dict[int, Summary], model: str) -> None:
    counts = list(contrastive)
    means = [s.whole.mean() for s in contrastive.values()]
    axes.plot(
        counts, [s.bound for s in contrastive.values()], color=_BOUND, ls="--", label="bound, log(K + 1)"
    )
    axes.plot(counts, means, "o-", color=_ESTIMATE, label="contrastive, mean of real responses")
    for count, mean, summary in zip(counts, means, contrastive.values(), strict=True):
        axes.annotate(
            f"{summary.saturated:.0%}",
            (count, mean),
            xytext=(0, -16),
            textcoords="offset points",
            ha="center",
            color=_INK,
        )
    axes.set(title=f"Real pairs, {Path(model).stem}", xlabel="K, other queries", ylim=(0, None))
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, labels=[str(count) for count in counts])
    axes.set_ylabel("pointwise mutual information (nats a response)")
    axes.legend(
        frameon=False, loc="upper left", title=f"below the points: responses above {NEAR:.0%} of the bound"
    )

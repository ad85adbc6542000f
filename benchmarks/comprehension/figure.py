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
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), facecolor=_CARD, layout="constrained")
        _draw_known(left, known)
        _draw_real(right, summaries, model)
        for axes in (left, right):
            axes.set(ylim=(0, None), xlabel="K (other queries)")
            axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _draw_known(axes: Axes, known: Known) -> None:
    counts = list(known.contrastive)
    mean, low, high = np.array(list(known.contrastive.values())).T
    axes.axhline(known.exact, color=_EXACT, lw=2, label="exact")
    axes.plot(counts, np.log1p(counts), color=_BOUND, ls="--", label="bound, log(K + 1)")
    axes.plot(counts, mean, "o-", color=_ESTIMATE, label="contrastive, mean")
    axes.fill_between(
        counts, low, high, color=_ESTIMATE, alpha=0.15, lw=0, label="range over choices of queries"
    )
    axes.set(title="Nine tokens, eight queries: the truth is known", xticks=counts)
    axes.set_ylabel("mutual information (nats)")


def _draw_real(axes: Axes, summaries: dict[str, Summary], model: str) -> None:
    contrastive = {s.passes: s for s in summaries.values() if s.bound}
    counts, means = list(contrastive), [s.whole.mean() for s in contrastive.values()]
    axes.plot(
        counts, [s.bound for s in contrastive.values()], color=_BOUND, ls="--", label="bound, log(K + 1)"
    )
    axes.plot(counts, means, "o-", color=_ESTIMATE, label="contrastive, mean")
    for count, mean, summary in zip(counts, means, contrastive.values(), strict=True):
        place = {"xytext": (6, -14), "textcoords": "offset points"}
        axes.annotate(f"{summary.saturated:.1%}", (count, mean), color=_INK, **place)
    note = f"%: responses above {NEAR:.0%} of the bound\nempty_prompt: {summaries['empty_prompt'].whole.mean():.1f} nats, mean"
    axes.text(0.98, 0.04, note, transform=axes.transAxes, ha="right", va="bottom")
    axes.set(title=f"Real pairs, {model.rpartition('/')[2].removesuffix('.gguf')}", xscale="log")
    axes.set_xticks(counts, labels=[str(count) for count in counts])
    axes.set_xticks([], minor=True)
    axes.set_ylabel("information of a whole response (nats)")

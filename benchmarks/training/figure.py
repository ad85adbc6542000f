"""The plot of a comparison: seconds and memory of every contestant, and of every way to compute a step."""

from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from page import cost, memory
from saved import Result

# A card of its own in light and dark surroundings; colours by Okabe and Ito, told apart by the colour-blind.
_CARD, _INK = "#ffffff", "#24292f"
_COLOURS = ("#0072b2", "#d55e00", "#e69f00", "#cc79a7", "#999999")


def draw(path: Path, results: list[Result], stages: list[Result]) -> None:
    """Write the plot as SVG, the same bytes for the same figures."""
    matplotlib.use("svg")
    style = {
        "svg.hashsalt": "training",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    ink = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK
    )
    seconds = "seconds a pair" if results[0]["device"] == "cuda" else "CPU seconds a pair"
    path.parent.mkdir(parents=True, exist_ok=True)
    with plt.rc_context({**style, **ink}):
        figure = plt.figure(figsize=(11, 8.4 if stages else 4.2), facecolor=_CARD, layout="constrained")
        parts = figure.subfigures(2 if stages else 1, 1, squeeze=False)[:, 0]
        both = ((cost, seconds), (memory, "peak memory (GB)"))
        for axes, (value, title) in zip(parts[0].subplots(1, 2), both, strict=True):
            _draw_cases(axes, results, value, title)
        parts[0].legend(
            *parts[0].axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False
        )
        if stages:
            for axes, (value, title) in zip(parts[1].subplots(1, 2, sharey=True), both, strict=True):
                _draw_stages(axes, stages, value, f"a step: {title}")
            parts[1].legend(
                *parts[1].axes[0].get_legend_handles_labels(),
                loc="outside upper center",
                ncols=2,
                frameon=False,
            )
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _draw_cases(axes: Axes, results: list[Result], value: Callable[[Result], float], title: str) -> None:
    cases = list(dict.fromkeys(row["case"] for row in results))
    names = list(dict.fromkeys(row["contestant"] for row in results))
    width = 0.8 / len(names)
    for number, (name, colour) in enumerate(zip(names, _COLOURS, strict=False)):
        rows = [row for row in results if row["contestant"] == name and "seconds" in row]
        places = [cases.index(row["case"]) + width * (number - (len(names) - 1) / 2) for row in rows]
        bars = axes.bar(places, [value(row) for row in rows], width, color=colour, label=name)
        axes.bar_label(bars, fmt="{:.2g}", fontsize=8)
    axes.set_xticks(range(len(cases)), labels=[case.replace("/", "\n") for case in cases])
    axes.set_title(title)


def _draw_stages(axes: Axes, stages: list[Result], value: Callable[[Result], float], title: str) -> None:
    tricks = list(dict.fromkeys(row["trick"] for row in stages))
    dtypes = list(dict.fromkeys(row["dtype"] for row in stages))
    height = 0.8 / len(dtypes)
    for number, (dtype, colour) in enumerate(zip(dtypes, _COLOURS[2:], strict=False)):
        rows = [row for row in stages if row["dtype"] == dtype and "seconds" in row]
        places = [row["tricks"] + height * (number - (len(dtypes) - 1) / 2) for row in rows]
        bars = axes.barh(places, [value(row) for row in rows], height, color=colour, label=dtype)
        axes.bar_label(bars, fmt="{:.2g}", fontsize=8, padding=2)
    labels = [trick.split(":")[0] if not number else f"+ {trick}" for number, trick in enumerate(tricks)]
    axes.set_yticks(range(len(tricks)), labels=labels)
    axes.set_ylim(len(tricks) - 0.5, -0.5)
    axes.set_title(title)

"""What every plot of the report shares: its words, its colours and its layout."""

from dataclasses import dataclass
from html import escape
from textwrap import wrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Each stands out on white and on near-black by 3 to 1 at least; a test measures it.
CHOSEN, REJECTED = "#1b8a83", "#c8603f"
BASE, ADAPTER = "#7b8798", "#4a7bd0"
RULE = "rgba(128,128,128,0.25)"


@dataclass(frozen=True)
class Plot:
    """A figure with the words that stand beside it.

    Attributes:
        name: identifier, fit for HTML and for a catalog entry.
        title: heading, in a few words.
        explanation: what one sees and how to read it.
        summary: the plot's content in numbers, for whoever does not see it.
        figure: the Plotly figure.
    """

    name: str
    title: str
    explanation: str
    summary: str
    figure: "go.Figure"


def make_figure(traces: list[Any], x: str, y: str, **layout: Any) -> "go.Figure":
    """Return a figure in the report's style.

    Args:
        traces: Plotly traces.
        x: title of the x axis, with its unit.
        y: title of the y axis, with its unit.
        layout: further Plotly layout.
    """
    import plotly.graph_objects as go

    axis = {"gridcolor": RULE, "zeroline": False, "linecolor": RULE, "automargin": True}
    figure = go.Figure(traces)
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12, "color": "#666"},
        margin={"l": 12, "r": 12, "t": 34, "b": 12},
        height=300,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "xanchor": "left"},
        hoverlabel={"bgcolor": "#222", "font": {"color": "#fff"}},
        xaxis={**axis, "title": {"text": x, "font": {"size": 12}}},
        yaxis={**axis, "title": {"text": y, "font": {"size": 12}}},
    )
    return figure.update_layout(**layout)


def histogram(samples: dict[str, tuple[Any, str]], unit: str, bins: int = 40) -> list[Any]:
    """Return one bar trace for each sample, counted here so that the page holds bins and not rows.

    Args:
        samples: by name, the values and the colour.
        unit: what the values are, for the hover text.
        bins: number of bins over the common range of the central 99.8 % of values; the rest count in the end bins.
    """
    import numpy as np
    import plotly.graph_objects as go

    values = {name: np.asarray(sample, dtype=float) for name, (sample, _) in samples.items()}
    low, high = np.quantile(np.concatenate(list(values.values())), [0.001, 0.999])
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)
    return [
        go.Bar(
            x=((edges[:-1] + edges[1:]) / 2).round(4).tolist(),
            y=np.histogram(np.clip(values[name], low, high), edges)[0].tolist(),
            width=float(edges[1] - edges[0]),
            name=name,
            marker={"color": colour, "opacity": 0.6, "line": {"width": 0}},
            hovertemplate=f"%{{x:.3f}} {unit}: %{{y}} pairs<extra>{name}</extra>",
        )
        for name, (_, colour) in samples.items()
    ]


def sentence_figure(sentence: str) -> "go.Figure":
    """Return a figure that shows a sentence, for a plot that has nothing to draw."""
    figure = make_figure([], "", "", xaxis_visible=False, yaxis_visible=False)
    # Plotly does not break lines by itself, and the panel of Kedro-Viz is narrow.
    return figure.add_annotation(
        text="<br>".join(wrap(escape(sentence), 48)),
        showarrow=False,
        xref="paper",
        yref="paper",
        x=0.5,
        y=0.5,
    )


def vertical_line(at: float, label: str) -> dict[str, Any]:
    """Return layout for one dotted vertical line with a label, to be passed to `make_figure`."""
    return {
        "shapes": [
            {
                "type": "line",
                "x0": at,
                "x1": at,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"dash": "dot", "width": 1.5, "color": "#888"},
            }
        ],
        "annotations": [
            {
                "x": at,
                "y": 1,
                "yref": "paper",
                "text": label,
                "showarrow": False,
                "xanchor": "left",
                "yanchor": "top",
            }
        ],
    }

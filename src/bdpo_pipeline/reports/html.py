"""From a template to one HTML page that asks nothing of the network and runs no script but its own two."""

import base64
import hashlib
import json
from functools import cache
from typing import Any

from markupsafe import Markup

from .formatting import count, duration
from .plots import Plot


def render_page(name: str, **content: Any) -> str:
    """Return a page that extends ``page.html``.

    Everything from data is escaped; a content security policy forbids requests, and every script but the two of the page itself.

    Args:
        name: of the template.
        content: what it shows; a name that the template asks for and that is not there is an error.
    """
    scripts = {"plotly_js": _plotly_js(), "plots_js": _template("plots.js")}
    page: str = (
        _environment()
        .get_template(name)
        .render(
            **content,
            **{script: Markup(text) for script, text in scripts.items()},  # noqa: S704 (ship with packages)
            css=Markup(_template("report.css")),  # noqa: S704 (ships with this package)
            script_hashes=[_csp_hash(text) for text in scripts.values()],
        )
    )
    return page


def _template(name: str) -> str:
    from importlib.resources import files

    return (files("bdpo_pipeline.reports") / "templates" / name).read_text(encoding="utf-8")


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("bdpo_pipeline.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "duration": duration, "plot_json": _plot_json}
    return environment


def _plot_json(plot: Plot) -> Markup:
    """Return a figure as JSON that may stand in a script element: no `<`, so nothing can end the element early."""
    figure = json.loads(plot.figure.to_json())
    text = json.dumps({"data": figure["data"], "layout": figure["layout"]}, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704 (cannot leave its element)


@cache
def _plotly_js() -> str:
    """Return Plotly's own script, which stands in the page."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _csp_hash(script: str) -> str:
    """Return what a content security policy calls a script that it lets run."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{digest}'"

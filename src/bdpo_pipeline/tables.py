"""Table and figure types for annotations in nodes; at run time they cost no import.

Kedro reads node annotations to validate typed parameters, so the names must exist at run time too.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame
    from plotly.graph_objects import Figure
else:
    DataFrame = Figure = Any

__all__ = ["DataFrame", "Figure"]

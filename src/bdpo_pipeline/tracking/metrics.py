"""Tables and summaries as named numbers."""

import math
import re
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

from bdpo_pipeline.tables import DataFrame

# The names that TRL and the Hugging Face Trainer give the two curves.
_SPLITS = {"train": "train", "validation": "eval"}
_PLACE = {"step", "split"}


def curve_point(split: str, values: Mapping[str, Any]) -> dict[str, float]:
    """Return one point of the training curves, named ``train/<metric>`` or ``eval/<metric>``.

    Args:
        split: ``train`` or ``validation``.
        values: metrics by name; what is missing (None) or no number is left out.
    """
    return {
        f"{_SPLITS.get(split, split)}/{name}": float(value)
        for name, value in values.items()
        if _is_number(value)
    }


def history_points(history: DataFrame) -> Iterable[tuple[str, int, dict[str, float]]]:
    """Yield (split, step, point) for each row of a training history; absent values (NaN) are left out."""
    for row in history.to_dict("records"):
        values = {str(key): value for key, value in row.items() if key not in _PLACE and not _is_nan(value)}
        yield row["split"], int(row["step"]), curve_point(row["split"], values)


def table_metrics(table: DataFrame, prefix: str, keys: Iterable[str]) -> dict[str, float]:
    """Return the numbers of a table as ``<prefix>/<key values>/<column>``; absent values (NaN) are left out.

    Args:
        table: one row for each combination of the key columns.
        prefix: first part of the names.
        keys: columns that tell the rows apart.
    """
    keys = list(keys)
    found: dict[str, float] = {}
    for row in table.to_dict("records"):
        place = "/".join([prefix, *(slug(str(row[key])) for key in keys)])
        for column, value in row.items():
            if column not in keys and _is_number(value) and not _is_nan(value):
                found[f"{place}/{column}"] = float(value)
    return found


def group_means(
    table: DataFrame, prefix: str, keys: Iterable[str], columns: Mapping[str, str]
) -> dict[str, float]:
    """Return the means of columns within each group of rows, as ``<prefix>/<key values>/<name>``; absent values (NaN) do not count.

    Args:
        table: one row an item.
        prefix: first part of the names.
        keys: columns that tell the groups apart.
        columns: the name in the result of each column.
    """
    keys = list(keys)
    means = table[[*keys, *columns]].astype(dict.fromkeys(columns, float)).groupby(keys, sort=False).mean()
    return table_metrics(means.reset_index().rename(columns=dict(columns)), prefix, keys)


def summary_metrics(summary: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """Return the numbers at the top level of a summary as ``<prefix>/<name>``."""
    return {f"{prefix}/{name}": float(value) for name, value in summary.items() if _is_number(value)}


def slug(text: str) -> str:
    """Return a text as a name that MLflow accepts: ``category: Animal Abuse`` is ``category-animal-abuse``."""
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_nan(value: Any) -> bool:
    return _is_number(value) and math.isnan(value)

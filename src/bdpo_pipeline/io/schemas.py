"""Arrow schemas of the streamed tables, by name; docs/artifacts.md explains the columns."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def get_schema(name: str) -> "pa.Schema":
    """Return a schema by name.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name not in _SCHEMAS:
        raise ValueError(f"unknown table schema {name!r}; accepted: {', '.join(_SCHEMAS)}")
    return _SCHEMAS[name]()


@cache
def _pairs() -> "pa.Schema":
    import pyarrow as pa

    message = pa.struct([_required("role", pa.string()), _required("content", pa.string())])
    return pa.schema(
        [
            _required("pair_id", pa.string()),
            _required("prompt", pa.list_(message)),
            _required("chosen", pa.string()),
            _required("rejected", pa.string()),
            pa.field("chosen_is_safe", pa.bool_()),
            pa.field("rejected_is_safe", pa.bool_()),
            pa.field("chosen_severity", pa.int8()),
            pa.field("rejected_severity", pa.int8()),
            _required("harm_categories", pa.list_(pa.string())),
            _required("source", pa.string()),
            _required("source_row", pa.int64()),
            pa.field("split", pa.string()),
        ]
    )


@cache
def _quarantined_rows() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema(
        [
            _required("file", pa.string()),
            _required("row", pa.int64()),
            pa.field("field", pa.string()),
            _required("reason", pa.string()),
            _required("message", pa.string()),
            _required("content", pa.string()),
        ]
    )


@cache
def _evaluation_prompts() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema(
        [
            _required("prompt_id", pa.string()),
            _required("prompt_set", pa.string()),
            _required("prompt", pa.string()),
            pa.field("category", pa.string()),
            _required("desired", pa.string()),
            pa.field("goal", pa.string()),
            pa.field("target", pa.string()),
            _required("contamination", pa.string()),
        ]
    )


@cache
def _dropped_pairs() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema(
        [
            _required("pair_id", pa.string()),
            _required("source", pa.string()),
            _required("source_row", pa.int64()),
            _required("stage", pa.string()),
            _required("reason", pa.string()),
            pa.field("detail", pa.string()),
        ]
    )


_SCHEMAS: dict[str, Callable[[], "pa.Schema"]] = {
    "pairs": _pairs,
    "quarantined_rows": _quarantined_rows,
    "evaluation_prompts": _evaluation_prompts,
    "dropped_pairs": _dropped_pairs,
}


def _required(name: str, kind: "pa.DataType") -> "pa.Field":
    import pyarrow as pa

    return pa.field(name, kind, nullable=False)

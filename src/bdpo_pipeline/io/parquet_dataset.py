"""A versioned Parquet table that is handed over as a file and read in batches."""

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractVersionedDataset, DatasetError, Version
from kedro_datasets._typing import TablePreview

from bdpo_pipeline.io.schemas import get_schema
from bdpo_pipeline.io.staging import link_or_copy, staged
from bdpo_pipeline.io.tables import StoredTable

if TYPE_CHECKING:
    import pyarrow as pa


class StreamedParquetDataset(AbstractVersionedDataset[Any, StoredTable]):
    """A Parquet table of a named schema on a local disk.

    Saving accepts a :class:`StoredTable`, an Arrow table or a data frame, checks it against the schema, and puts the file in
    place in one step, so a version is whole or absent. A stored table is hard-linked where the file system
    allows it: the same bytes are kept once. Loading gives a :class:`StoredTable`; no row is read.

    Example catalog entry::

        preference_pairs:
          type: bdpo_pipeline.io.parquet_dataset.StreamedParquetDataset
          filepath: data/02_intermediate/preference_pairs.parquet
          schema: pairs
          versioned: true
    """

    def __init__(
        self,
        *,
        filepath: str,
        schema: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ):
        """Bind the data set to a place and a schema.

        Args:
            filepath: file, or folder of versions where ``versioned: true``.
            schema: name of a schema in :mod:`bdpo_pipeline.io.schemas`.
            version: set by Kedro.
            metadata: for plugins such as Kedro-Viz.
        """
        super().__init__(filepath=PurePosixPath(Path(filepath).as_posix()), version=version)
        self.metadata = metadata
        self._schema_name = schema

    def load(self) -> StoredTable:
        """Return a handle on the version's file."""
        path = Path(self._get_load_path())
        if not path.is_file():
            raise DatasetError(f"no table at {path}: run the pipeline that makes it first")
        return StoredTable(path)

    def save(self, data: Any) -> None:
        """Check the table against the schema and put it in place in one step.

        Raises:
            DatasetError: a column is missing, unknown, of another type, or empty where a value is required.
            NoSpaceError: (as the cause of Kedro's DatasetError) the file system is full.
        """
        expected = get_schema(self._schema_name)
        needed = data.path.stat().st_size if isinstance(data, StoredTable) else None
        target = Path(self._get_save_path())
        with staged(target, versioned=self._version is not None, needed=needed) as partial:
            if isinstance(data, StoredTable):
                _check_columns(data.schema, expected, self._schema_name)
                link_or_copy(data.path, partial)
            else:
                _write_table(data, expected, self._schema_name, partial)

    def preview(self, nrows: int = 20) -> TablePreview:
        """Return the first rows for Kedro-Viz, whose table shows plain texts and numbers only."""
        table = self.load()
        first = next(table.batches(batch_size=nrows), None)
        rows = first.to_pylist() if first else []
        return TablePreview(
            {
                "index": list(range(len(rows))),
                "columns": table.schema.names,
                "data": [[_show(value) for value in row.values()] for row in rows],
            }
        )

    def _exists(self) -> bool:
        try:
            return Path(self._get_load_path()).is_file()
        except DatasetError:
            return False

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "schema": self._schema_name, "version": self._version}


def _show(value: Any) -> str | float | None:
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    plain: str | float | None = value
    return plain


def _check_columns(found: "pa.Schema", expected: "pa.Schema", name: str) -> None:
    accepted = ", ".join(f"{field.name} ({field.type})" for field in expected)
    for field in expected:
        if field.name not in found.names:
            raise DatasetError(f"column {field.name!r} is missing; a {name} table has: {accepted}")
        kind = found.field(field.name).type
        if not kind.equals(field.type):
            raise DatasetError(f"column {field.name!r} is {kind}; accepted: {field.type}")
    unknown = [column for column in found.names if column not in expected.names]
    if unknown:
        raise DatasetError(f"column {unknown[0]!r} is not known; a {name} table has: {accepted}")


def _write_table(data: Any, expected: "pa.Schema", name: str, path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    if isinstance(data, pa.Table):
        _check_columns(data.schema, expected, name)
        table = data.select(expected.names)
    else:
        table = _from_frame(data, expected, name)
    for field in expected:
        empty = table.column(field.name).null_count
        if empty and not field.nullable:
            raise DatasetError(
                f"column {field.name!r} has {empty} rows without a value; accepted: {field.type}"
            )
    parquet.write_table(table.cast(expected), path, compression="zstd")


def _from_frame(frame: Any, expected: "pa.Schema", name: str) -> "pa.Table":
    import pyarrow as pa

    if not hasattr(frame, "columns"):
        raise DatasetError(
            f"cannot save {type(frame).__name__}; accepted: StoredTable, pyarrow Table, DataFrame"
        )
    accepted = ", ".join(expected.names)
    for column in expected.names:
        if column not in frame.columns:
            raise DatasetError(f"column {column!r} is missing; a {name} table has: {accepted}")
    for column in frame.columns:
        if column not in expected.names:
            raise DatasetError(f"column {column!r} is not known; a {name} table has: {accepted}")
    columns = []
    for field in expected:
        try:
            columns.append(pa.array(frame[field.name], type=field.type, from_pandas=True))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise DatasetError(f"column {field.name!r} is not {field.type}: {error}") from error
    return pa.table(columns, names=expected.names)

"""Tables on disk: a light handle for reading in batches, and a writer that never holds more than a batch."""

import contextlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from bdpo_pipeline.disk_space import clear_about_space
from bdpo_pipeline.io.staging import make_aside, remove_leftovers

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ROWS_PER_BATCH = 4096
ROWS_PER_GROUP = 8192
# What waits to be written is bounded in size, too: all rows may be of the largest.
CHARACTERS_AT_ONCE = 32_000_000
BYTES_AT_ONCE = 64_000_000


@dataclass(frozen=True, eq=False)
class StoredTable:
    """A Parquet file that is read batch by batch; the handle itself holds no rows.

    A handle made by :class:`TableWriter` owns a temporary file, which goes when the handle goes.
    """

    path: Path

    @property
    def num_rows(self) -> int:
        """Number of rows, from the file's footer."""
        from pyarrow import parquet

        return int(parquet.read_metadata(self.path).num_rows)

    @property
    def schema(self) -> "pa.Schema":
        """Arrow schema, from the file's footer."""
        from pyarrow import parquet

        return parquet.read_schema(self.path)

    def batches(
        self, columns: Sequence[str] | None = None, batch_size: int = ROWS_PER_BATCH
    ) -> Iterator["pa.RecordBatch"]:
        """Yield record batches of at most ``batch_size`` rows, in file order.

        Args:
            columns: names of the columns to read; all of them by default.
            batch_size: rows in a batch.
        """
        from pyarrow import parquet

        with parquet.ParquetFile(self.path) as file:
            yield from file.iter_batches(batch_size=batch_size, columns=columns and list(columns))

    def to_pandas(self, columns: Sequence[str] | None = None) -> "pd.DataFrame":
        """Return the whole table as a data frame; for tables that fit in memory."""
        from pyarrow import parquet

        frame: pd.DataFrame = parquet.read_table(self.path, columns=columns and list(columns)).to_pandas()
        return frame

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: a copy would outlive the file that the handle owns."""
        return self


class TableWriter:
    """Appends rows to a Parquet file in the system's temporary folder (``TMPDIR``); call :meth:`finish` within its context.

    On the file system of ``data_root`` saving is a hard link, elsewhere a copy. Leaving the context without ``finish``,
    on an error say, removes the file; what killed processes left is removed by the next one that writes a table.
    """

    def __init__(self, schema: "pa.Schema"):
        from pyarrow import parquet

        place = Path(tempfile.gettempdir()) / f"bdpo-tables-{os.getuid()}"
        with clear_about_space(place):
            remove_leftovers(place)
            self._folder, self._lock = make_aside(place)
        self._path = self._folder / "table.parquet"
        self._schema = schema
        self._rows: list[Mapping[str, Any]] = []
        self._texts = [field.name for field in schema if not _is_small(field.type)]
        self._characters = 0
        self._batches: list[pa.RecordBatch] = []
        self._batch_rows, self._batch_bytes = 0, 0
        self._writer = parquet.ParquetWriter(self._path, schema, compression="zstd")
        self._finished = False

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row, a value for every column of the schema."""
        self._rows.append(row)
        self._characters += sum(_characters(row[name]) for name in self._texts)
        if len(self._rows) >= ROWS_PER_GROUP or self._characters > CHARACTERS_AT_ONCE:
            self._pack_rows()
            self._write()

    def append_batch(self, batch: "pa.RecordBatch") -> None:
        """Add a record batch of the same schema, after the rows appended so far."""
        self._pack_rows()
        self._gather(batch)
        if self._batch_rows >= ROWS_PER_GROUP or self._batch_bytes > BYTES_AT_ONCE:
            self._write()

    def finish(self) -> StoredTable:
        """Close the file and return its handle, which now owns it."""
        self._pack_rows()
        self._write()
        with clear_about_space(self._path):
            self._writer.close()
        self._finished = True
        table = StoredTable(self._path)
        weakref.finalize(table, _remove, self._folder, self._lock)
        return table

    def _pack_rows(self) -> None:
        import pyarrow as pa

        if self._rows:
            columns = [
                pa.array([row[field.name] for row in self._rows], type=field.type) for field in self._schema
            ]
            self._gather(pa.record_batch(columns, schema=self._schema))
            self._rows, self._characters = [], 0

    def _gather(self, batch: "pa.RecordBatch") -> None:
        self._batches.append(batch)
        self._batch_rows += batch.num_rows
        self._batch_bytes += batch.nbytes

    def _write(self) -> None:
        import pyarrow as pa

        if self._batches:
            with clear_about_space(self._path):
                self._writer.write_table(pa.Table.from_batches(self._batches))
            self._batches, self._batch_rows, self._batch_bytes = [], 0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._finished:
            # On a full disk closing fails as well; the error under way says more.
            with contextlib.suppress(OSError):
                self._writer.close()
            _remove(self._folder, self._lock)


def _remove(folder: Path, lock: IO[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.close()
    with contextlib.suppress(OSError):  # others have tables there
        folder.parent.rmdir()


def _is_small(kind: "pa.DataType") -> bool:
    """Return whether values of a type are numbers, which take next to nothing each."""
    from pyarrow import types

    return bool(types.is_primitive(kind))


def _characters(value: Any) -> int:
    """Return the characters of all texts in a value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_characters, value.values()))
    return 0 if value is None else sum(map(_characters, value))

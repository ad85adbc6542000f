"""Tables on disk: a light handle for reading in batches, and a writer that never holds more than a batch."""

import contextlib
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from bdpo_pipeline.disk_space import clear_about_space

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ROWS_PER_BATCH = 4096
ROWS_PER_GROUP = 8192


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
    on an error say, removes the file.
    """

    def __init__(self, schema: "pa.Schema"):
        from pyarrow import parquet

        self._path = Path(tempfile.gettempdir()) / f"bdpo-{uuid4().hex}.parquet"
        self._schema = schema
        self._rows: list[Mapping[str, Any]] = []
        self._batches: list[pa.RecordBatch] = []
        self._writer = parquet.ParquetWriter(self._path, schema, compression="zstd")
        self._finished = False

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row, a value for every column of the schema."""
        self._rows.append(row)
        if len(self._rows) >= ROWS_PER_GROUP:
            self._pack_rows()
            self._write()

    def append_batch(self, batch: "pa.RecordBatch") -> None:
        """Add a record batch of the same schema, after the rows appended so far."""
        self._pack_rows()
        self._batches.append(batch)
        if sum(pending.num_rows for pending in self._batches) >= ROWS_PER_GROUP:
            self._write()

    def finish(self) -> StoredTable:
        """Close the file and return its handle, which now owns it."""
        self._pack_rows()
        self._write()
        with clear_about_space(self._path):
            self._writer.close()
        self._finished = True
        table = StoredTable(self._path)
        weakref.finalize(table, self._path.unlink, missing_ok=True)
        return table

    def _pack_rows(self) -> None:
        import pyarrow as pa

        if self._rows:
            columns = [
                pa.array([row[field.name] for row in self._rows], type=field.type) for field in self._schema
            ]
            self._batches.append(pa.record_batch(columns, schema=self._schema))
            self._rows = []

    def _write(self) -> None:
        import pyarrow as pa

        if self._batches:
            with clear_about_space(self._path):
                self._writer.write_table(pa.Table.from_batches(self._batches))
            self._batches = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._finished:
            # On a full disk closing fails as well; the error under way says more.
            with contextlib.suppress(OSError):
                self._writer.close()
            self._path.unlink(missing_ok=True)

"""Rows of a Parquet file, one at a time, whatever its state."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bdpo_pipeline.preferences import parquet_rows
from bdpo_pipeline.preferences.defects import RowError, describe, show_name
from bdpo_pipeline.preferences.lines import RawRow

if TYPE_CHECKING:
    import pyarrow as pa

_SAID_CHARACTERS = 300
# Its other allocators reserve address space by the GiB, and the bound is on that.
_ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}


def read_parquet(path: Path, max_row_bytes: int) -> Iterator[RawRow]:
    """Yield the rows of a Parquet file in order, as a process of its own reads them.

    A file that is broken further on gives one last row with ``broken_file``.

    Args:
        path: the file.
        max_row_bytes: a row whose decoded values take more is reported and not read.

    Raises:
        ValueError: not a Parquet file, broken before its first row, without columns, or with two of the same name.
    """
    command = [sys.executable, "-m", parquet_rows.__name__, str(path), str(max_row_bytes)]
    read = 0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            env=os.environ | _ENVIRONMENT,
        )
        try:
            with process.stdout as sent:  # type: ignore[union-attr]
                for row in unpack_rows(sent, max_row_bytes):
                    read = row.number
                    yield row
            status = process.wait()
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        cause = _explain(status, said.read().decode(errors="replace"))
    if cause and not read:
        raise ValueError(f"{path} is not a Parquet file, or a broken one: {cause}. Fetch it again")
    if cause:
        message = f"the file is broken: {cause}; what follows is lost, fetch the file again"
        yield RawRow(read + 1, {}, None, RowError("broken_file", None, message))


def unpack_rows(sent: IO[bytes], max_row_bytes: int) -> Iterator[RawRow]:
    """Yield the rows of what :func:`parquet_rows.send_rows` wrote, up to where it ends or breaks off."""
    import pyarrow as pa

    number = 0
    try:
        stream = pa.ipc.open_stream(sent)
        while True:
            batch, metadata = stream.read_next_batch_with_custom_metadata()
            if metadata is not None:
                number += 1
                taken = metadata[parquet_rows.TOO_LONG].decode()
                message = f"the row has {taken} bytes; ingestion.max_row_bytes allows {max_row_bytes}"
                yield RawRow(number, {}, None, RowError("row_too_long", None, message))
            for i in range(batch.num_rows):
                number += 1
                yield _to_row(number, batch, i)
    except (StopIteration, pa.ArrowInvalid, OSError):
        # Whether this is the end of the rows or of the process that sends them is told by how that process ended.
        return


def _to_row(number: int, batch: "pa.RecordBatch", i: int) -> RawRow:
    import pyarrow as pa

    fields: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            fields[name] = column[i].as_py()
        except UnicodeDecodeError as error:
            message = f"not UTF-8 at byte {error.start}; accepted: text in UTF-8"
            return RawRow(number, {}, None, RowError("broken_encoding", show_name(name), message))
        # What Python cannot express: a date beyond its years, a time zone that nobody knows, an object with two fields of one name.
        except (ArithmeticError, LookupError, TypeError, ValueError, pa.ArrowException) as error:
            message = f"a value of type {column.type} cannot be read: {describe(error)}"
            return RawRow(number, {}, None, RowError("wrong_type", show_name(name), message))
    return RawRow(number, fields)


def _explain(status: int, said: str) -> str | None:
    """Return why the reading process ended early, or None where it did not."""
    if status == 0:
        return None
    if status < 0:
        return f"reading it ended with {signal.Signals(-status).name}"
    last = (said.strip().splitlines() or [f"exit code {status}"])[-1]
    if "MemoryError" in last or "bad_alloc" in said:
        return f"reading a part of it takes more than {parquet_rows.MEMORY_BYTES >> 20} MiB"
    return last[:_SAID_CHARACTERS]

"""Reads a Parquet file in a process of its own, which sends the rows on: ``python -m … FILE MAX_ROW_BYTES``.

What a Parquet file declares decides how much memory its reader takes, and a damaged one can end the process that reads it. Here
that is a process with a bound on its memory, whose end the run survives.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

# Of address space; the libraries alone take a third of it.
MEMORY_BYTES = 1 << 30
ROWS_AT_ONCE = 64
_READ_BYTES = 1 << 20
# Custom metadata of an empty batch: it stands for a row that is not sent.
TOO_LONG = b"bytes of a row that is too long"


def send_rows(path: Path, max_row_bytes: int, sink: IO[bytes]) -> None:
    """Write the rows of a Parquet file to ``sink`` as a stream of Arrow record batches (IPC), in order.

    No batch takes more than ``max_row_bytes``; in place of a row that does, an empty batch says so in its metadata.

    Args:
        path: the file.
        max_row_bytes: bound on the decoded values of one row.
        sink: where the stream is written; its schema comes first, so a stream without one was never a readable file.

    Raises:
        ValueError: two columns have the same name, there is no column, or rows are missing.
        pyarrow.ArrowException: the file is damaged; what was written before is whole. So with OSError.
    """
    import pyarrow as pa
    from pyarrow import parquet

    options = {"pre_buffer": False, "buffer_size": _READ_BYTES, "arrow_extensions_enabled": False}
    with parquet.ParquetFile(path, page_checksum_verification=True, **options) as file:
        schema = _plain(file.schema_arrow)
        _check_names(schema.names)
        with pa.ipc.new_stream(sink, schema) as stream:
            rows = 0
            for batch in _read_batches(file):
                rows += batch.num_rows
                for part, metadata in _bound(_decode(batch, schema), max_row_bytes):
                    stream.write_batch(part, custom_metadata=metadata)
            if rows != file.metadata.num_rows:
                raise ValueError(f"{rows} rows were found where {file.metadata.num_rows} are declared")


def _read_batches(file: "ParquetFile") -> Iterator["pa.RecordBatch"]:
    # Group by group: a batch over the end of one would be lost with what is broken in the next.
    for group in range(file.num_row_groups):
        yield from file.iter_batches(batch_size=ROWS_AT_ONCE, row_groups=[group], use_threads=False)


def _plain(schema: "pa.Schema") -> "pa.Schema":
    """Return the schema without dictionaries, which would be sent whole with every row."""
    import pyarrow as pa
    from pyarrow.types import is_dictionary

    plain = [
        field.with_type(field.type.value_type) if is_dictionary(field.type) else field for field in schema
    ]
    return pa.schema(plain)


def _decode(batch: "pa.RecordBatch", schema: "pa.Schema") -> "pa.RecordBatch":
    import pyarrow as pa

    columns = [
        column if column.type == field.type else column.dictionary_decode()
        for field, column in zip(schema, batch.columns, strict=True)
    ]
    return pa.record_batch(columns, schema=schema)


def _bound(
    batch: "pa.RecordBatch", limit: int
) -> Iterator[tuple["pa.RecordBatch", dict[bytes, bytes] | None]]:
    if batch.nbytes <= limit:
        yield batch, None
        return
    for i in range(batch.num_rows):
        row = batch.slice(i, 1)
        if row.nbytes <= limit:
            yield row, None
        else:
            yield batch.slice(0, 0), {TOO_LONG: str(row.nbytes).encode()}


def _check_names(names: list[str]) -> None:
    if not names:
        raise ValueError("it has no column")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the column {twice[0]!r} is there more than once")


def _bound_memory() -> None:
    # Elsewhere the bound is not kept by the system, or not known to it.
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


if __name__ == "__main__":
    _bound_memory()
    send_rows(Path(sys.argv[1]), int(sys.argv[2]), sys.stdout.buffer)
    sys.stdout.flush()

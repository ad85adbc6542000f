"""Raw rows, and the lines of a file with what is wrong with them."""

import gzip
import io
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from bdpo_pipeline.preferences.defects import RowError


@dataclass(frozen=True)
class RawRow:
    """One row as found: its fields, or the defect that keeps them from being read.

    Attributes:
        number: 1-based; line for JSON lines, record below the header for CSV, row for Parquet and the hub.
        fields: the row's fields; empty with a defect.
        text: the row's bytes as found, where the file is text.
        defect: why the row could not be read.
    """

    number: int
    fields: Mapping[str, Any]
    text: bytes | None = None
    defect: RowError | None = None


def read_lines(path: Path, max_row_bytes: int) -> Iterator[tuple[bytes, RowError | None]]:
    """Yield the lines of a plain or gzipped file, each with what is wrong with it, if anything.

    A line above the bound is cut there. A gzip stream that breaks off gives one last, empty line with ``broken_file``.
    """
    with _open(path) as file:
        while True:
            try:
                line = file.readline(max_row_bytes + 1)
                cut = len(line) > max_row_bytes
                rest = line
                while cut and rest and not rest.endswith(b"\n"):
                    rest = file.readline(max_row_bytes + 1)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                message = f"the gzip stream is broken or ends early ({error}); what follows is lost, fetch the file again"
                yield b"", RowError("broken_file", None, message)
                return
            if not line:
                return
            if cut:
                yield line[:max_row_bytes], too_long(max_row_bytes)
            else:
                yield line, None


def too_long(max_row_bytes: int) -> RowError:
    """Return what is wrong with a row above the bound."""
    message = f"the row has more than {max_row_bytes} bytes, which ingestion.max_row_bytes allows"
    return RowError("row_too_long", None, message)


def _open(path: Path) -> BinaryIO:
    if path.name.lower().endswith(".gz"):
        return io.BufferedReader(gzip.open(path), 1 << 16)
    return path.open("rb")

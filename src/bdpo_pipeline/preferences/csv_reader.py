"""CSV rows, one at a time; a broken one does not stop those after it."""

import csv
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from bdpo_pipeline.preferences.defects import RowError, show_name
from bdpo_pipeline.preferences.lines import RawRow, read_lines, too_long


class _Lines:
    """Decodes lines for the csv module and remembers the current record's text and what was wrong with it."""

    def __init__(self, path: Path, max_row_bytes: int):
        self._lines = enumerate(read_lines(path, max_row_bytes))
        self._max_row_bytes = max_row_bytes
        self.ended_early: RowError | None = None
        self.start_record()

    def start_record(self) -> None:
        self.text = bytearray()
        self.defect: RowError | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        number, (line, defect) = next(self._lines)
        if defect is not None and defect.reason == "broken_file":
            self.ended_early = defect
            raise StopIteration
        self.text += line
        if defect is None and len(self.text) > self._max_row_bytes:
            defect = too_long(self._max_row_bytes)
        if defect is not None:
            # The csv module drops what it has of the record and starts another with the next line.
            raise defect
        try:
            return line.decode("utf-8-sig" if number == 0 else "utf-8")
        except UnicodeDecodeError as error:
            message = f"not UTF-8 at byte {error.start} of its line; save the file as UTF-8"
            self.defect = RowError("broken_encoding", None, message)
            return line.decode("utf-8", errors="replace")


def read_csv(path: Path, max_row_bytes: int) -> Iterator[RawRow]:
    """Yield the records below the header line, each with the header's names as fields.

    Raises:
        ValueError: the header line cannot be read, or names a column twice.
    """
    lines = _Lines(path, max_row_bytes)
    records = csv.reader(lines, strict=True)
    header: list[str] | None = None
    number = 0
    while True:
        first_line = records.line_num + 1
        cells: list[str] = []
        lines.start_record()
        try:
            with _field_limit(max_row_bytes):
                cells = next(records)
            defect = lines.defect
        except StopIteration:
            break
        except RowError as error:
            defect = error
        except csv.Error as error:
            message = f"lines {first_line} to {records.line_num} are not a CSV record: {error}"
            defect = RowError("broken_csv", None, message)
        if header is None:
            header = _check_header(path, cells, defect)
        elif cells or defect:
            number += 1
            yield _to_row(number, header, cells, bytes(lines.text), defect)
    if lines.ended_early is not None:
        yield RawRow(number + 1, {}, None, lines.ended_early)


def _check_header(path: Path, cells: list[str], defect: RowError | None) -> list[str]:
    if defect is not None:
        raise ValueError(
            f"{path}: the header line cannot be read: {defect}; accepted: names of columns, separated by commas"
        ) from defect
    twice = next((name for name, count in Counter(cells).items() if count > 1), None)
    if twice is not None:
        raise ValueError(
            f"{path}: the header line names {show_name(twice)!r} more than once; name each column once"
        )
    return cells


@contextmanager
def _field_limit(limit: int) -> Iterator[None]:
    """Bound a field for the time of one read: the csv module keeps one limit for the whole process."""
    before = csv.field_size_limit(limit)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _to_row(number: int, header: list[str], cells: list[str], text: bytes, defect: RowError | None) -> RawRow:
    if defect is None and len(cells) != len(header):
        message = f"found {len(cells)} cells; the header has {len(header)}"
        defect = RowError("wrong_cell_count", None, message)
    if defect is not None:
        return RawRow(number, {}, text, defect)
    return RawRow(number, dict(zip(header, cells, strict=True)), text)

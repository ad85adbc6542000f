"""CSV rows, one at a time; a broken one does not stop those after it."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bdpo_pipeline.preferences.defects import RowError
from bdpo_pipeline.preferences.lines import RawRow, read_lines


@dataclass
class _Lines:
    """Decodes lines for the csv module and remembers the current record's text and what was wrong with it."""

    path: Path
    max_row_bytes: int
    text: bytes = b""
    defect: RowError | None = None
    ended_early: RowError | None = None

    def __iter__(self) -> Iterator[str]:
        for number, (line, defect) in enumerate(read_lines(self.path, self.max_row_bytes)):
            if defect is not None and defect.reason == "broken_file":
                self.ended_early = defect
                return
            self.text = (self.text + line)[: self.max_row_bytes]
            if defect is not None:
                self.defect = defect
                # Without quotes and line ends the rest of a cut line cannot swallow the records after it.
                yield "cut\n"
                continue
            try:
                yield line.decode("utf-8-sig" if number == 0 else "utf-8")
            except UnicodeDecodeError as error:
                message = f"not UTF-8 at byte {error.start} of its line; save the file as UTF-8"
                self.defect = RowError("broken_encoding", None, message)
                yield line.decode("utf-8", errors="replace")


def read_csv(path: Path, max_row_bytes: int) -> Iterator[RawRow]:
    """Yield the records below the header line, each with the header's names as fields."""
    lines = _Lines(path, max_row_bytes)
    records = csv.reader(lines, strict=True)
    header: list[str] | None = None
    number = 0
    while True:
        first_line = records.line_num + 1
        cells: list[str] = []
        try:
            with _field_limit(max_row_bytes):
                cells = next(records)
            text, defect = lines.text, lines.defect
        except StopIteration:
            break
        except csv.Error as error:
            message = f"lines {first_line} to {records.line_num} are not a CSV record: {error}"
            text, defect = lines.text, RowError("broken_csv", None, message)
        lines.text, lines.defect = b"", None
        if header is None:
            if defect is not None:
                raise ValueError(f"{path}: the header line cannot be read: {defect}") from defect
            header = cells
        elif cells or defect:
            number += 1
            yield _to_row(number, header, cells, text, defect)
    if lines.ended_early is not None:
        yield RawRow(number + 1, {}, None, lines.ended_early)


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

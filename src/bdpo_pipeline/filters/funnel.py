"""Who was dropped where and why."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Funnel:
    """Which rows are still in, and for every row that is out its stage, reason and a detail.

    A row leaves once. The rows of the report chain: what a line lets through is what the next one of its scope takes in.
    """

    def __init__(self, rows: int):
        """Start with all rows in."""
        import numpy as np

        self._out = np.zeros(rows, dtype=np.int16)
        self._detail_row = np.full(rows, -1, dtype=np.int64)
        self._causes: list[tuple[str, str]] = []
        self._report: list[dict[str, Any]] = []

    def rows_in(self) -> "NDArray[np.int64]":
        """Return the indices of the rows that are still in, ascending."""
        import numpy as np

        return np.flatnonzero(self._out == 0)

    def drop(
        self,
        stage: str,
        rows: "NDArray[np.int64]",
        codes: "NDArray[Any]",
        reasons: Sequence[str],
        detail_rows: "NDArray[np.int64] | None" = None,
    ) -> None:
        """Take rows out and report one line for each reason that occurred, or one line where none did.

        Args:
            stage: name for the report.
            rows: indices of the rows that the stage looked at; all of them still in.
            codes: for each of them 0 to stay or the 1-based number of a reason.
            reasons: texts.
            detail_rows: for each of them the row that it was dropped for, or -1.
        """
        import numpy as np

        remaining = len(rows)
        counts = np.bincount(codes, minlength=len(reasons) + 1)
        for number, reason in enumerate(reasons, start=1):
            if counts[number]:
                self._causes.append((stage, reason))
                hit = codes == number
                self._out[rows[hit]] = len(self._causes)
                if detail_rows is not None:
                    self._detail_row[rows[hit]] = detail_rows[hit]
                remaining = self._add_line(stage, remaining, int(counts[number]), reason)
        if remaining == len(rows):
            self._add_line(stage, remaining, 0, "")

    def finish_split(self, name: str, rows_before: int, rows_after: int) -> None:
        """Report the final size of a split."""
        self._add_line(name, rows_before, rows_before - rows_after, "")

    def cause(self, row: int) -> tuple[str, str]:
        """Return stage and reason of a row that is out."""
        number = int(self._out[row])
        return self._causes[number - 1]

    def detail_row(self, row: int) -> int | None:
        """Return the row that a row was dropped for, where there is one."""
        found = int(self._detail_row[row])
        return None if found < 0 else found

    def report(self) -> list[dict[str, Any]]:
        """Return the lines so far: ``stage``, ``rows_in``, ``rows_out``, ``dropped``, ``reason``."""
        return self._report

    def _add_line(self, stage: str, rows_in: int, dropped: int, reason: str) -> int:
        rows_out = rows_in - dropped
        self._report.append(
            {"stage": stage, "rows_in": rows_in, "rows_out": rows_out, "dropped": dropped, "reason": reason}
        )
        return rows_out

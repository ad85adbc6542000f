"""Writing pairs as they are read."""

from collections.abc import Mapping
from typing import Any

from bdpo_pipeline.io.schemas import get_schema
from bdpo_pipeline.io.tables import TableWriter

CHARACTERS_AT_ONCE = 32_000_000


class PairWriter(TableWriter):
    """A writer of canonical rows that bounds what waits to be written in characters too: all rows may be of the largest size."""

    def __init__(self) -> None:
        """Open the file."""
        super().__init__(get_schema("pairs"))
        self._characters = 0

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a canonical row."""
        super().append(row)
        said = sum(len(message["content"]) for message in row["prompt"])
        self._characters += said + len(row["chosen"]) + len(row["rejected"])
        if self._characters > CHARACTERS_AT_ONCE:
            self._pack_rows()
            self._write()
        if not self._rows:
            self._characters = 0

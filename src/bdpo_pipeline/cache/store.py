"""The reference log-prob store: sqlite, safe under kill, a full disk, and concurrent readers and writers."""

import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bdpo_pipeline.cache.database import connected, prepare, transaction
from bdpo_pipeline.cache.rows import INSERT, SELECT, Lookup, Model, Row, numbered, whole_model, whole_row

logger = logging.getLogger(__name__)
_READ_AT_ONCE = 500
# When a row was used last is brought up to date when it is off by more than this, so that most reads write nothing.
_USED_AT_SECONDS = 24 * 3600


class LogprobStore:
    """Log-probs (fp64) by key. A row that its checksum does not fit counts as absent and is computed again.

    A store of an older format is brought up to date when it is opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        prepare(path)

    def get(self, keys: Sequence[bytes], model: Model) -> dict[bytes, float]:
        """Return the log-probs of the keys that are there, and note that they were used.

        Args:
            keys: 16 bytes each.
            model: what the keys belong to.

        Raises:
            DamagedStoreError: the file is not what sqlite wrote.
        """
        with connected(self.path) as connection:
            rows = list(self._rows(connection, keys))
            self._note_use(connection, rows, model)
        return {row.key: row.logp for row in rows}

    def put(self, logps: Mapping[bytes, float], model: Model) -> None:
        """Store log-probs of a model, all of them or none.

        Raises:
            NoSpaceError: the file system is full; what was there is intact.
            DamagedStoreError: the file is not what sqlite wrote.
        """
        now = int(time.time())
        with connected(self.path) as connection, transaction(connection):
            number = _number(connection, model)
            # sqlite keeps a negative zero as a plain one, so that is what is summed up here: adding zero makes it so.
            _write(connection, (Row(key, logp + 0.0, number, now, now) for key, logp in logps.items()))

    def record(self, model: Model, requested: int, found: int, computed: int) -> None:
        """Keep what a pass asked for and what it got, for the hit rate."""
        with connected(self.path) as connection, transaction(connection):
            lookup = Lookup(int(time.time()), _number(connection, model), requested, found, computed)
            connection.execute(INSERT["lookups"], lookup.with_checksum())

    def __len__(self) -> int:
        with connected(self.path) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM logps").fetchone()[0])

    def _rows(self, connection: sqlite3.Connection, keys: Sequence[bytes]) -> Iterator[Row]:
        for start in range(0, len(keys), _READ_AT_ONCE):
            part = keys[start : start + _READ_AT_ONCE]
            marks = ",".join("?" * len(part))
            query = f"{SELECT['logps']} WHERE key IN ({marks})"
            for stored in connection.execute(query, part):
                row = whole_row(stored)
                if row is not None:
                    yield row
                else:
                    logger.warning("%s: row %s is damaged and is computed again", self.path, stored[0].hex())

    def _note_use(self, connection: sqlite3.Connection, rows: Sequence[Row], model: Model) -> None:
        now, number = int(time.time()), _known_number(connection, model)
        stale = [row for row in rows if row.model != number or abs(now - row.used_at) > _USED_AT_SECONDS]
        if stale:
            with transaction(connection):
                number = _number(connection, model)
                _write(connection, (row._replace(model=number, used_at=now) for row in stale))


def _write(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    stored = (row.with_checksum() for row in rows)
    connection.executemany(INSERT["logps"], stored)


def _known_number(connection: sqlite3.Connection, model: Model) -> int | None:
    query = f"{SELECT['models']} WHERE weights_sha256 = ? AND precision = ?"
    stored = connection.execute(query, (model.weights_sha256, model.precision)).fetchone()
    found = whole_model(stored) if stored else None
    return found[0] if found else None


def _number(connection: sqlite3.Connection, model: Model) -> int:
    """Return the number of a model in the store, a new one if it is new; within a transaction."""
    known = _known_number(connection, model)
    if known is not None:
        return known
    number = connection.execute("SELECT COALESCE(MAX(number), 0) + 1 FROM models").fetchone()[0]
    connection.execute(INSERT["models"], numbered(number, model))
    return int(number)

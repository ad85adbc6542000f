"""The reference log-prob store: sqlite, safe under kill and concurrent readers and writers."""

import logging
import sqlite3
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)
_BUSY_SECONDS = 60.0
_READ_AT_ONCE = 500


class LogprobStore:
    """Log-probs (fp64) by key. Each row carries a checksum; a row that fails it counts as absent and is computed again."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        with self._connection() as connection:
            # Write-ahead logging: readers never wait for a writer, and a killed writer leaves whole transactions only.
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS logps (key BLOB PRIMARY KEY, logp REAL NOT NULL, checksum INTEGER NOT NULL) "
                "WITHOUT ROWID"
            )

    def get(self, keys: Sequence[bytes]) -> dict[bytes, float]:
        """Return the log-probs of the keys that are there."""
        found: dict[bytes, float] = {}
        with self._connection() as connection:
            for start in range(0, len(keys), _READ_AT_ONCE):
                part = keys[start : start + _READ_AT_ONCE]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, logp, checksum FROM logps WHERE key IN ({marks})"  # noqa: S608 - only question marks
                for key, logp, checksum in connection.execute(query, part):
                    if checksum == _checksum(key, logp):
                        found[key] = logp
                    else:
                        logger.warning("%s: row %s is damaged and is computed again", self.path, key.hex())
        return found

    def put(self, logps: Mapping[bytes, float]) -> None:
        """Store log-probs, all of them or none."""
        # sqlite keeps a negative zero as a plain one, so that is what is summed up here: adding zero makes it so.
        rows = [(key, logp + 0.0, _checksum(key, logp + 0.0)) for key, logp in logps.items()]
        with self._connection() as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO logps VALUES (?, ?, ?)", rows)

    def __len__(self) -> int:
        with self._connection() as connection:
            return int(connection.execute("SELECT COUNT(*) FROM logps").fetchone()[0])

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS)
        try:
            yield connection
        finally:
            connection.close()


def _checksum(key: bytes, logp: float) -> int:
    return zlib.crc32(key + struct.pack("<d", logp))

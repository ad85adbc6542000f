"""Reading a whole store: what in it is damaged, and what of it can be kept."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

from bdpo_pipeline.cache.database import (
    DamagedStoreError,
    clear_error,
    connected,
    prepare,
    transaction,
)
from bdpo_pipeline.cache.rows import INSERT, SELECT, whole_lookup, whole_model, whole_row

_CHECKS = {"logps": whole_row, "models": whole_model, "lookups": whole_lookup}
_PROBLEMS_SHOWN = 20


@dataclass(frozen=True)
class Condition:
    """What reading all of a store found: intact log-probs, and what is wrong in words."""

    intact_rows: int
    problems: list[str]


def check(path: Path) -> Condition:
    """Read everything in the store, by sqlite's own check of its file and by the checksum of every row.

    Raises:
        StoreError: it is of another format, or may not be written, or another process holds it for too long.
    """
    intact = 0
    problems: list[str] = []
    try:
        prepare(path)
        with connected(path) as connection:
            # Some damage only shows when something is to be written.
            with transaction(connection):
                pass
            for (message,) in connection.execute(f"PRAGMA integrity_check({_PROBLEMS_SHOWN})"):
                if message != "ok":
                    problems.append(f"sqlite: {message}")
            for table, whole in _CHECKS.items():
                for stored in connection.execute(SELECT[table]):
                    if whole(stored) is None:
                        problems.append(f"{table}: the row {_name(stored)} is not what was written")
                    elif table == "logps":
                        intact += 1
    except DamagedStoreError as error:
        problems.append(f"sqlite: {error.__cause__}")
    return Condition(intact, problems)


def repair(path: Path) -> tuple[int, Path]:
    """Put the file aside and make a store of everything in it that can be read whole.

    Not while a run computes: what it stores meanwhile may go with the old file.

    Returns:
        The number of log-probs that were kept, and where the damaged file is now.

    Raises:
        NoSpaceError: the file system is full; the store is as it was.
    """
    fresh = path.with_name(f".{path.name}.{uuid4().hex}.repaired")
    prepare(fresh)
    try:
        with connected(fresh) as connection, transaction(connection):
            for table, whole in _CHECKS.items():
                rows = (stored for stored in _readable(path, table) if whole(stored) is not None)
                connection.executemany(INSERT[table], rows)
            kept = int(connection.execute("SELECT COUNT(*) FROM logps").fetchone()[0])
        aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        fresh.rename(path)
    finally:
        for suffix in ("-wal", "-shm", ""):
            fresh.with_name(fresh.name + suffix).unlink(missing_ok=True)
    return kept, aside


def _readable(path: Path, table: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a table up to each damaged place, from both sides."""
    queries: list[tuple[str, tuple[bytes, ...]]] = [(SELECT[table], ())]
    if table == "logps":
        # Keys are digests, so each of these is a small part, and damage costs no more than a page of it.
        bounds = [bytes([first]) for first in range(256)] + [b"\xff" * 17]
        part = f"{SELECT[table]} WHERE key >= ? AND key < ? ORDER BY key"
        queries = [(f"{part} {order}", pair) for pair in pairwise(bounds) for order in ("ASC", "DESC")]
    with connected(path) as connection:
        for query, values in queries:
            try:
                yield from connection.execute(query, values)
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                if not isinstance(clear_error(error, path), DamagedStoreError):
                    raise


def _name(stored: tuple[Any, ...]) -> str:
    return stored[0].hex() if isinstance(stored[0], bytes) else repr(stored[0])

"""The store's sqlite file: its tables, how an older one becomes a new one, and what its errors mean."""

import os
import sqlite3
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bdpo_pipeline.cache.rows import INSERT, UNKNOWN_MODEL, Row
from bdpo_pipeline.disk_space import NoSpaceError, free_bytes

FORMAT = 2
_BUSY_SECONDS = 60.0
# sqlite reports some writes that a full disk refuses as errors of input and output.
_NEARLY_NO_SPACE = 2**18
_TABLES = """
CREATE TABLE models (
    number INTEGER PRIMARY KEY, weights_sha256 TEXT NOT NULL, precision TEXT NOT NULL, checksum INTEGER NOT NULL,
    UNIQUE (weights_sha256, precision)
);
CREATE TABLE logps (
    key BLOB PRIMARY KEY, logp REAL NOT NULL, model INTEGER NOT NULL, computed_at INTEGER NOT NULL, used_at INTEGER NOT NULL,
    checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE lookups (
    at INTEGER NOT NULL, model INTEGER NOT NULL, requested INTEGER NOT NULL, found INTEGER NOT NULL, computed INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
"""


class StoreError(RuntimeError):
    """The store cannot be used; the message says why and what to do."""


class DamagedStoreError(StoreError):
    """The store's file is damaged."""


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection without implicit transactions; sqlite's errors come out as clear ones.

    Raises:
        DamagedStoreError: the file is not what sqlite wrote.
        NoSpaceError: its file system is full; what was committed is intact.
        StoreError: it may not be written, or another process holds it for too long.
    """
    try:
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            yield connection
        finally:
            connection.close()
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise clear_error(error, path) from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of the block is stored, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Where sqlite has given up by itself, on a full disk say, there is nothing left to roll back.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def prepare(path: Path) -> None:
    """Make the store if there is none, and bring one of an older format up to date, all of it or nothing.

    Raises:
        StoreError: a newer version of the project wrote it, or it is no store.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with connected(path) as connection:
        # Write-ahead logging: readers never wait for a writer, and a killed writer leaves whole transactions only.
        connection.execute("PRAGMA journal_mode=WAL")
        if _format(connection) == FORMAT:
            return
        with transaction(connection):
            # Another process may have been faster.
            if _format(connection) != FORMAT:
                _bring_up_to_date(connection, path)


def _format(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    found = _format(connection)
    if found != 0:
        raise StoreError(
            f"{path} has store format {found}, and this version of the project knows formats up to {FORMAT}: a newer version wrote it "
            "(update the project, or name another file in compute.reference_cache), or it is damaged (put it aside: it is only a cache)"
        )
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables - {"logps"}:
        raise StoreError(
            f"{path} is a database of another kind, with the tables {', '.join(sorted(tables))}: name another file in "
            "compute.reference_cache"
        )
    if tables:
        connection.execute("ALTER TABLE logps RENAME TO logps_of_format_1")
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    if tables:
        _take_over_format_1(connection, path)
        connection.execute("DROP TABLE logps_of_format_1")
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def _take_over_format_1(connection: sqlite3.Connection, path: Path) -> None:
    """Keep every intact row; when it was computed is not known, so the last change of the file stands for it."""
    last_change = int(min(path.stat().st_mtime, time.time()))

    def rows() -> Iterator[tuple[object, ...]]:
        for key, logp, checksum in connection.execute("SELECT key, logp, checksum FROM logps_of_format_1"):
            if checksum == zlib.crc32(key + struct.pack("<d", logp)):
                yield Row(key, logp, UNKNOWN_MODEL, last_change, last_change).with_checksum()

    connection.executemany(INSERT["logps"], rows())


def clear_error(error: sqlite3.DatabaseError | UnicodeDecodeError, path: Path) -> StoreError | NoSpaceError:
    """Return what an error of sqlite's means for the user."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    full = code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and free_bytes(path) < _NEARLY_NO_SPACE
    if code == sqlite3.SQLITE_FULL or full:
        return NoSpaceError(path)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(
            f"{path}: another process has held the reference cache for more than {_BUSY_SECONDS:.0f} s ({error}). Run again when it is "
            "done"
        )
    if not os.access(path if path.exists() else path.parent, os.R_OK | os.W_OK):
        return StoreError(
            f"{path} may not be read and written by this user ({error}): change its permissions, or name another file in "
            "compute.reference_cache"
        )
    return DamagedStoreError(
        f"{path} is damaged ({error}). `kedro reference check --repair` puts the file aside and keeps every log-prob that can still be "
        "read whole; the others are computed again when they are needed"
    )

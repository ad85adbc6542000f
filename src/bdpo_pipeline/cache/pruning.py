"""Removing log-probs that are not worth their space."""

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdpo_pipeline.cache.database import connected, transaction
from bdpo_pipeline.cache.summary import bytes_on_disk

_SECONDS_PER_DAY = 24 * 3600


@dataclass(frozen=True)
class Rule:
    """What may go, and how much of it.

    Without the first three every row may go. With one of the last two only so many go as that takes, those used longest ago first.

    Attributes:
        older_than_days: computed longer ago than this.
        unused_for_days: used last longer ago than this.
        model: beginning of the SHA-256 of the weights.
        max_rows: rows to stay in the store, at most.
        max_bytes: size of the store's file afterwards, about at most.
    """

    older_than_days: float | None = None
    unused_for_days: float | None = None
    model: str | None = None
    max_rows: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True)
class Plan:
    """How many rows of all a rule removes, and about how many bytes they take."""

    removed: int
    rows: int
    bytes_freed: int


def plan(path: Path, rule: Rule) -> Plan:
    """Return what :func:`prune` would remove."""
    with connected(path) as connection:
        return _plan(connection, path, rule)


def prune(path: Path, rule: Rule) -> Plan:
    """Remove what the rule says and give the space back to the file system.

    Raises:
        NoSpaceError: giving the space back takes some for a moment, and there is none; the rows are removed.
    """
    with connected(path) as connection:
        with transaction(connection):
            found = _plan(connection, path, rule)
            where, values = _may_go(rule)
            connection.execute(
                f"DELETE FROM logps WHERE key IN (SELECT key FROM logps WHERE {where} ORDER BY used_at, computed_at, key LIMIT ?)",  # noqa: S608
                (*values, found.removed),
            )
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return found


def _plan(connection: sqlite3.Connection, path: Path, rule: Rule) -> Plan:
    where, values = _may_go(rule)
    rows = int(connection.execute("SELECT COUNT(*) FROM logps").fetchone()[0])
    may_go = int(connection.execute(f"SELECT COUNT(*) FROM logps WHERE {where}", values).fetchone()[0])  # noqa: S608
    row_bytes = bytes_on_disk(path) / max(rows, 1)
    stay = [
        limit
        for limit in (rule.max_rows, None if rule.max_bytes is None else int(rule.max_bytes / row_bytes))
        if limit is not None
    ]
    removed = min(may_go, max(0, rows - min(stay))) if stay else may_go
    return Plan(removed, rows, round(removed * row_bytes))


def _may_go(rule: Rule) -> tuple[str, tuple[Any, ...]]:
    """Return a condition in SQL and its values."""
    now = time.time()
    conditions: list[tuple[str, Any]] = []
    if rule.older_than_days is not None:
        conditions.append(("computed_at < ?", now - rule.older_than_days * _SECONDS_PER_DAY))
    if rule.unused_for_days is not None:
        conditions.append(("used_at < ?", now - rule.unused_for_days * _SECONDS_PER_DAY))
    if rule.model is not None:
        in_model = "model IN (SELECT number FROM models WHERE weights_sha256 GLOB ?)"
        conditions.append((in_model, f"{rule.model}*"))
    return " AND ".join(sql for sql, _ in conditions) or "TRUE", tuple(value for _, value in conditions)

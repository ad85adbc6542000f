"""Stores of other formats: an older one is brought up to date whole, a newer one and other databases are left alone."""

import multiprocessing
import sqlite3
import struct
import zlib

import pytest

from bdpo_pipeline.cache.database import StoreError
from bdpo_pipeline.cache.rows import Model
from bdpo_pipeline.cache.store import LogprobStore
from bdpo_pipeline.cache.summary import summarise

MODEL = Model("ab" * 32, "float32")
VALUES = {i.to_bytes(16, "big"): -i / 7 for i in range(1674)}


@pytest.fixture
def old(tmp_path):
    """A store as the first format had it, with one damaged row besides."""
    path = tmp_path / "cache.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(
            "CREATE TABLE logps (key BLOB PRIMARY KEY, logp REAL NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID"
        )
        rows = [(key, logp, zlib.crc32(key + struct.pack("<d", logp))) for key, logp in VALUES.items()]
        connection.executemany("INSERT INTO logps VALUES (?, ?, ?)", rows)
        connection.execute("INSERT INTO logps VALUES (?, ?, ?)", (bytes(15) + b"x" + b"y", -1.0, 5))
    connection.close()
    return path


def test_an_old_store_keeps_every_intact_row(old):
    store = LogprobStore(old)
    assert len(store) == len(VALUES)
    assert store.get(list(VALUES), MODEL) == VALUES


def test_rows_of_an_old_store_learn_their_model_when_they_are_used(old):
    store = LogprobStore(old)
    assert [(one.model, one.rows) for one in summarise(old).models] == [(None, len(VALUES))]
    store.get(list(VALUES)[:100], MODEL)
    assert {one.model: one.rows for one in summarise(old).models} == {None: len(VALUES) - 100, MODEL: 100}


def _open(path) -> None:
    LogprobStore(path)


def test_an_old_store_is_brought_up_to_date_once_by_processes_at_the_same_time(old):
    context = multiprocessing.get_context("spawn")
    openers = [context.Process(target=_open, args=(old,)) for _ in range(4)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
    assert [opener.exitcode for opener in openers] == [0] * 4
    assert LogprobStore(old).get(list(VALUES), MODEL) == VALUES


def test_bringing_up_to_date_is_all_or_nothing(old, monkeypatch):
    def fail(*_):
        raise RuntimeError("half-way")

    monkeypatch.setattr("bdpo_pipeline.cache.database._take_over_format_1", fail)
    with pytest.raises(RuntimeError, match="half-way"):
        LogprobStore(old)
    monkeypatch.undo()
    assert LogprobStore(old).get(list(VALUES), MODEL) == VALUES


def test_a_newer_store_is_left_alone(tmp_path):
    path = tmp_path / "cache.sqlite"
    LogprobStore(path).put(VALUES, MODEL)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 3")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(
        StoreError, match="has store format 3, and this version of the project knows formats up to 2"
    ):
        LogprobStore(path)
    assert path.read_bytes() == before


def test_another_database_is_left_alone(tmp_path):
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE experiments (id INTEGER)")
    connection.close()
    with pytest.raises(StoreError, match="a database of another kind, with the tables experiments"):
        LogprobStore(path)
    with sqlite3.connect(path) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == [("experiments",)]

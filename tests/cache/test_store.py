"""The log-prob store under damage of rows, concurrency, kill, a full disk, and time."""

import multiprocessing
import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from bdpo_pipeline.cache.rows import Model
from bdpo_pipeline.cache.store import LogprobStore
from bdpo_pipeline.cache.summary import hit_rate, summarise
from bdpo_pipeline.disk_space import NoSpaceError

MODEL = Model("ab" * 32, "float32")
OTHER = Model("cd" * 32, "bfloat16/cuda")
DAY = 24 * 3600


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "cache.sqlite"


def at(monkeypatch, seconds: float) -> None:
    monkeypatch.setattr(time, "time", lambda: seconds)


def test_what_is_put_is_got_to_the_last_bit(path):
    store = LogprobStore(path)
    values = {key(i): -(10.0**i) / 3 for i in range(-5, 5) if i >= 0} | {key(99): -0.0}
    store.put(values, MODEL)
    assert LogprobStore(path).get([*values, key(1000)], MODEL) == values
    assert len(store) == len(values)


def test_more_keys_than_one_query_takes(path):
    store = LogprobStore(path)
    values = {key(i): -float(i) for i in range(3000)}
    store.put(values, MODEL)
    assert store.get(list(values), MODEL) == values


@pytest.mark.parametrize("column", ["logp", "model", "computed_at", "used_at", "checksum"])
def test_a_damaged_row_counts_as_absent_whatever_of_it_is_damaged(path, column):
    store = LogprobStore(path)
    store.put({key(1): -1.5, key(2): -2.5}, MODEL)
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE logps SET {column} = {column} + 1 WHERE key = ?", (key(1),))  # noqa: S608
    assert store.get([key(1), key(2)], MODEL) == {key(2): -2.5}
    store.put({key(1): -1.5}, MODEL)
    assert store.get([key(1)], MODEL) == {key(1): -1.5}


def test_noting_the_use_of_a_damaged_row_does_not_make_it_whole(path, monkeypatch):
    store = LogprobStore(path)
    store.put({key(1): -1.5, key(2): -2.5}, MODEL)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE logps SET logp = -9 WHERE key = ?", (key(1),))
    at(monkeypatch, time.time() + 10 * DAY)
    for _ in range(2):
        assert store.get([key(1), key(2)], OTHER) == {key(2): -2.5}


def test_rows_know_their_model_and_when_they_were_computed_and_used(path, monkeypatch):
    store = LogprobStore(path)
    at(monkeypatch, 100 * DAY)
    store.put({key(1): -1.0}, MODEL)
    at(monkeypatch, 101 * DAY)
    store.put({key(2): -2.0, key(3): -3.0}, OTHER)
    at(monkeypatch, 150 * DAY)
    store.get([key(2)], OTHER)
    of_other, of_model = summarise(path).models
    assert (of_model.model, of_model.rows) == (MODEL, 1)
    assert (of_model.first_computed_at, of_model.last_used_at) == (100 * DAY, 100 * DAY)
    assert (of_other.model, of_other.rows) == (OTHER, 2)
    assert (of_other.first_computed_at, of_other.last_computed_at) == (101 * DAY, 101 * DAY)
    assert of_other.last_used_at == 150 * DAY


def test_reading_again_on_the_same_day_writes_nothing(path):
    store = LogprobStore(path)
    values = {key(i): -float(i) for i in range(100)}
    store.put(values, MODEL)
    before = path.read_bytes()
    store.get(list(values), MODEL)
    assert path.read_bytes() == before


def test_the_hit_rate_is_of_all_passes(path):
    store = LogprobStore(path)
    assert hit_rate(summarise(path).passes) is None
    store.record(MODEL, requested=30, found=0, computed=30)
    store.record(OTHER, requested=10, found=10, computed=0)
    passes = summarise(path).passes
    assert [one.model for one in passes] == [MODEL, OTHER]
    assert hit_rate(passes) == pytest.approx(0.25)
    assert hit_rate(passes[-1:]) == 1.0


def _write(path: Path, first: int, rows: int) -> None:
    store = LogprobStore(path)
    for i in range(first, first + rows):
        store.put({key(i): -float(i), key(i + 1_000_000): -float(i)}, MODEL)


def test_concurrent_writers_lose_nothing(path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(path, 1000 * n, 100)) for n in range(4)]
    for writer in writers:
        writer.start()
    reader = LogprobStore(path)
    while any(writer.is_alive() for writer in writers):
        assert all(value <= 0 for value in reader.get([key(i) for i in range(100)], MODEL).values())
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert len(reader) == 800


def test_killed_writer_leaves_whole_transactions(path):
    writer = multiprocessing.get_context("spawn").Process(target=_write, args=(path, 0, 1_000_000))
    writer.start()
    store = LogprobStore(path)
    deadline = time.monotonic() + 60
    while len(store) < 50:
        assert time.monotonic() < deadline
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    rows = len(store) // 2
    wanted = [key(i + place) for i in range(rows) for place in (0, 1_000_000)]
    assert len(store.get(wanted, MODEL)) == len(store) == 2 * rows
    store.put({key(7_000_000): -1.0}, MODEL)
    assert len(store) == 2 * rows + 1


def test_a_full_disk_is_a_clear_error_and_the_store_goes_on_when_there_is_space(small_disk):
    disk = small_disk(2_000_000)
    store = LogprobStore(disk / "cache.sqlite")
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(1_200_000))
    kept: dict[bytes, float] = {}

    def fill() -> None:
        for start in range(0, 100_000, 500):
            part = {key(start + i): -float(start + i) for i in range(500)}
            store.put(part, MODEL)
            kept.update(part)

    with pytest.raises(NoSpaceError, match=r"no space left for .*cache\.sqlite: [\d,]+ bytes are free"):
        fill()
    ballast.unlink()
    assert len(kept) >= 500
    assert store.get([key(i) for i in range(100_000)], MODEL) == kept
    more = {key(200_000 + i): -1.0 for i in range(2000)}
    store.put(more, MODEL)
    assert len(store) == len(kept) + len(more)


def test_a_disk_without_any_space_at_all_is_said_when_the_store_is_opened(small_disk):
    disk = small_disk(1_000_000)
    with pytest.raises(OSError, match="No space left"):
        (disk / "ballast").write_bytes(bytes(2_000_000))
    with pytest.raises(NoSpaceError, match=r"no space left for .*cache\.sqlite: 0 bytes are free"):
        LogprobStore(disk / "cache.sqlite")

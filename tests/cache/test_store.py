"""The log-prob store under damage, concurrency and kill."""

import multiprocessing
import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdpo_pipeline.cache.keys import response_key
from bdpo_pipeline.cache.store import LogprobStore


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_what_is_put_is_got_to_the_last_bit(tmp_path):
    store = LogprobStore(tmp_path / "cache.sqlite")
    values = {key(i): -(10.0**i) / 3 for i in range(-5, 5) if i >= 0} | {key(99): -0.0}
    store.put(values)
    assert LogprobStore(tmp_path / "cache.sqlite").get([*values, key(1000)]) == values
    assert len(store) == len(values)


def test_more_keys_than_one_query_takes(tmp_path):
    store = LogprobStore(tmp_path / "cache.sqlite")
    values = {key(i): -float(i) for i in range(3000)}
    store.put(values)
    assert store.get(list(values)) == values


@pytest.mark.parametrize("damage", ["logp = logp + 1e-9", "checksum = checksum + 1"])
def test_damaged_row_counts_as_absent(tmp_path, damage):
    store = LogprobStore(tmp_path / "cache.sqlite")
    store.put({key(1): -1.5, key(2): -2.5})
    with sqlite3.connect(tmp_path / "cache.sqlite") as connection:
        connection.execute(f"UPDATE logps SET {damage} WHERE key = ?", (key(1),))  # noqa: S608
    assert store.get([key(1), key(2)]) == {key(2): -2.5}
    store.put({key(1): -1.5})
    assert store.get([key(1)]) == {key(1): -1.5}


def _write(path: Path, first: int, rows: int) -> None:
    store = LogprobStore(path)
    for i in range(first, first + rows):
        store.put({key(i): -float(i), key(i + 1_000_000): -float(i)})


def test_concurrent_writers_lose_nothing(tmp_path):
    path = tmp_path / "cache.sqlite"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(path, 1000 * n, 100)) for n in range(4)]
    for writer in writers:
        writer.start()
    reader = LogprobStore(path)
    while any(writer.is_alive() for writer in writers):
        assert all(value <= 0 for value in reader.get([key(i) for i in range(100)]).values())
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert len(reader) == 800


def test_killed_writer_leaves_whole_transactions(tmp_path):
    path = tmp_path / "cache.sqlite"
    writer = multiprocessing.get_context("spawn").Process(target=_write, args=(path, 0, 1_000_000))
    writer.start()
    store = LogprobStore(path)
    deadline = time.monotonic() + 60
    while len(store) < 50:
        assert time.monotonic() < deadline
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    rows = len(store) // 2
    both = store.get([key(i) for i in range(rows)]) | store.get([key(i + 1_000_000) for i in range(rows)])
    assert len(both) == len(store) == 2 * rows
    store.put({key(7_000_000): -1.0})
    assert len(store) == 2 * rows + 1


ids = st.lists(st.integers(0, 2**31 - 1), max_size=8)


@given(ids, ids, ids, ids)
def test_keys_are_equal_only_for_equal_content(context, response, other_context, other_response):
    one = response_key("w", "float32", context, response)
    other = response_key("w", "float32", other_context, other_response)
    assert (one == other) == ((context, response) == (other_context, other_response))


@pytest.mark.parametrize("change", [("v", "float32"), ("w", "bfloat16"), ("w", "nf4/float32")])
def test_keys_depend_on_weights_and_precision(change):
    assert response_key("w", "float32", [1], [2, 3]) != response_key(*change, [1], [2, 3])


def test_moving_the_boundary_changes_the_key():
    assert response_key("w", "f", [1, 2], [3]) != response_key("w", "f", [1], [2, 3])

"""A store whose file was altered: what is got from it is right or nothing, and all damage that matters is found."""

import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdpo_pipeline.cache.database import DamagedStoreError, StoreError
from bdpo_pipeline.cache.repair import check, repair
from bdpo_pipeline.cache.rows import Model
from bdpo_pipeline.cache.store import LogprobStore
from bdpo_pipeline.cache.summary import summarise

MODEL = Model("ab" * 32, "float32")
generator = random.Random(1)
VALUES = {generator.randbytes(16): -100 * generator.random() for _ in range(400)}
# Of the file's header: that it is one, its pages, versions, counters and sizes.
HEADER = 100


@pytest.fixture(scope="module")
def intact(tmp_path_factory) -> bytes:
    """The bytes of a store with 400 rows, whose interior and leaf pages are all in use."""
    path = tmp_path_factory.mktemp("store") / "cache.sqlite"
    store = LogprobStore(path)
    store.put(VALUES, MODEL)
    store.record(MODEL, requested=1, found=0, computed=1)
    assert check(path).intact_rows == 400
    return path.read_bytes()


@pytest.fixture(scope="module")
def altered(intact, tmp_path_factory):
    """`altered(place, change)` gives the path of a store with one altered byte."""
    folder = tmp_path_factory.mktemp("altered")

    def alter(place: int, change: int) -> Path:
        shutil.rmtree(folder)
        folder.mkdir()
        content = bytearray(intact)
        content[place] ^= change
        (folder / "cache.sqlite").write_bytes(content)
        return folder / "cache.sqlite"

    return alter


def get_all(path: Path) -> dict[bytes, float] | None:
    """What the store gives, None if it says that it cannot be used. Any other error is a failure."""
    try:
        return LogprobStore(path).get(list(VALUES), MODEL)
    except StoreError:
        return None


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_one_altered_byte_never_gives_a_wrong_value(intact, altered, data):
    size = len(intact)
    place = data.draw(st.one_of(st.integers(0, HEADER - 1), st.integers(0, size - 1)), "place")
    path = altered(place, data.draw(st.integers(1, 255), "change"))
    got = get_all(path)
    assert got is None or all(VALUES[key] == value for key, value in got.items())
    try:
        found = bool(check(path).problems)
    except StoreError:
        found = True
    # Nothing is missing, or wrong, that a check does not find.
    assert found or (got == VALUES and len(summarise(path).passes) == 1)
    try:
        LogprobStore(path).put(dict(list(VALUES.items())[:50]), MODEL)
    except StoreError:
        return
    got = get_all(path)
    assert got is None or all(VALUES[key] == value for key, value in got.items())


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(VALUES)), st.integers(0, 40), st.integers(1, 255))
def test_every_byte_of_a_row_counts(intact, altered, key, offset, change):
    # The key stands in the file once; value, model, times and checksum follow it: 8 + 1 + 4 + 4 + 8 bytes, the model's number in none.
    assert intact.count(key) == 1
    path = altered(intact.index(key) + offset % 40, change)
    got = get_all(path)
    assert got is None or key not in got or got == VALUES
    assert check(path).problems


@settings(max_examples=40, deadline=None)
@given(st.integers(HEADER, 10**9), st.integers(1, 255))
def test_repair_puts_the_file_aside_and_keeps_all_but_a_page(intact, altered, place, change):
    path = altered(HEADER + place % (len(intact) - HEADER), change)
    damaged = path.read_bytes()
    if not check(path).problems:
        return
    before = get_all(path) or {}
    kept, aside = repair(path)
    assert not check(path).problems
    got = LogprobStore(path).get(list(VALUES), MODEL)
    assert len(got) == kept >= len(before)
    assert all(VALUES[key] == value for key, value in got.items())
    assert len(aside.read_bytes()) == len(damaged)


def test_a_file_that_is_no_database_is_named_with_the_way_out(tmp_path):
    path = tmp_path / "cache.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(DamagedStoreError, match=r"cache\.sqlite is damaged .*kedro reference check --repair"):
        LogprobStore(path)
    assert check(path).problems
    kept, aside = repair(path)
    assert (kept, aside.read_bytes()) == (0, b"not a database at all" * 100)
    assert len(LogprobStore(path)) == 0


def test_a_file_cut_short_is_found(intact, tmp_path):
    path = tmp_path / "cache.sqlite"
    path.write_bytes(intact[: len(intact) // 2])
    got = get_all(path)
    assert got is None or all(VALUES[key] == value for key, value in got.items())
    assert check(path).problems

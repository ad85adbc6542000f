"""What goes, what stays, and that the file gets smaller."""

import time

import pytest

from bdpo_pipeline.cache.pruning import Rule, plan, prune
from bdpo_pipeline.cache.rows import Model
from bdpo_pipeline.cache.store import LogprobStore
from bdpo_pipeline.cache.summary import bytes_on_disk, summarise

OLD, NEW = Model("ab" * 32, "float32"), Model("cd" * 32, "float32")
DAY = 24 * 3600
NOW = 1000 * DAY


def keys(first: int, count: int) -> list[bytes]:
    return [(first + i).to_bytes(16, "big") for i in range(count)]


@pytest.fixture
def store(tmp_path, monkeypatch) -> LogprobStore:
    """600 rows of one model, 100 days old, 200 of them used 5 days ago; 400 of another, 10 days old."""
    store = LogprobStore(tmp_path / "cache.sqlite")
    monkeypatch.setattr(time, "time", lambda: NOW - 100 * DAY)
    store.put(dict.fromkeys(keys(0, 600), -1.0), OLD)
    monkeypatch.setattr(time, "time", lambda: NOW - 10 * DAY)
    store.put(dict.fromkeys(keys(1000, 400), -2.0), NEW)
    monkeypatch.setattr(time, "time", lambda: NOW - 5 * DAY)
    store.get(keys(0, 200), OLD)
    monkeypatch.setattr(time, "time", lambda: NOW)
    return store


@pytest.mark.parametrize(
    ("rule", "removed"),
    [
        (Rule(older_than_days=50), 600),
        (Rule(unused_for_days=50), 400),
        (Rule(unused_for_days=7), 800),
        (Rule(model="cd"), 400),
        (Rule(model="ef"), 0),
        (Rule(unused_for_days=50, model="cd"), 0),
        (Rule(max_rows=900), 100),
        (Rule(max_rows=2000), 0),
        (Rule(max_rows=0), 1000),
        (Rule(max_rows=500, model="cd"), 400),
        (Rule(max_rows=700, unused_for_days=50), 300),
    ],
)
def test_a_rule_removes_what_it_says_and_a_plan_says_the_same(store, rule, removed):
    planned = plan(store.path, rule)
    assert (planned.removed, planned.rows, len(store)) == (removed, 1000, 1000)
    assert prune(store.path, rule) == planned
    assert len(store) == 1000 - removed


def test_those_used_longest_ago_go_first(store):
    prune(store.path, Rule(max_rows=600))
    assert {one.model: one.rows for one in summarise(store.path).models} == {OLD: 200, NEW: 400}
    assert len(store.get(keys(0, 200), OLD)) == 200


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_the_space_is_given_back(store, share):
    many = LogprobStore(store.path)
    many.put(dict.fromkeys(keys(10_000, 20_000), -3.0), NEW)
    before = bytes_on_disk(store.path)
    prune(store.path, Rule(max_bytes=int(share * before)))
    assert 0.7 * share * before < bytes_on_disk(store.path) < 1.05 * share * before

"""Scores through the cache: only what is not there is computed, and a kill loses no more than the batch in hand."""

import os
import signal

import numpy as np
import pytest
import torch

from bdpo_pipeline.cache.scoring import Item, score_through_cache
from bdpo_pipeline.cache.store import LogprobStore
from bdpo_pipeline.engine import events
from bdpo_pipeline.engine.jobs import Compute
from bdpo_pipeline.engine.launcher import WorkerError
from bdpo_pipeline.models.loading import load_model

COMPUTE = Compute(device="cpu", threads=1, tokens_per_batch=200)


@pytest.fixture(scope="module")
def items() -> list[Item]:
    generator = np.random.default_rng(0)
    draw = lambda: generator.integers(0, 250, generator.integers(2, 40)).tolist()  # noqa: E731
    contexts = [draw() for _ in range(12)]
    return [Item(context, draw()) for context in contexts for _ in range(2)]


@pytest.fixture
def score(tiny_model, tmp_path):
    store = LogprobStore(tmp_path / "cache.sqlite")

    def run(items, compute=COMPUTE):
        return score_through_cache(items, tiny_model("llama"), compute, store, tmp_path / "scratch")

    return run


def test_scores_are_the_models_own(score, items, tiny_model):
    model = load_model(tiny_model("llama")["path"], dtype="float32")
    expected = []
    for item in items:
        logps = model(torch.tensor([[*item.context, *item.response]])).logits.log_softmax(-1)[0]
        places = range(len(item.context) - 1, len(item.context) + len(item.response) - 1)
        expected.append(sum(float(logps[p, t]) for p, t in zip(places, item.response, strict=True)))
    np.testing.assert_allclose(score(items).logps, expected, rtol=1e-5, atol=1e-4)


def test_second_time_nothing_is_computed(score, items):
    first, second = score(items), score(items)
    assert first.count() == {"requested": len(items), "cached": 0, "computed": len(items)}
    assert first.forward_passes > 0
    assert second.count() == {"requested": len(items), "cached": len(items), "computed": 0}
    assert second.forward_passes == 0
    assert second.logps == first.logps


def test_only_the_new_pair_is_computed(score, items):
    score(items)
    again = score([*items, Item([1, 2, 3], [4, 5]), Item([1, 2, 3], [6])])
    assert (len(again.computed), again.forward_passes) == (2, 1)
    assert again.count(slice(-2, None)) == {"requested": 2, "cached": 0, "computed": 2}


def test_alike_items_are_computed_once(score, items):
    twice = score([*items, *items])
    assert twice.count() == {"requested": len(items), "cached": 0, "computed": len(items)}
    assert twice.logps[: len(items)] == twice.logps[len(items) :]


def test_two_processes_score_every_item_once(score, items):
    from dataclasses import replace

    odd = items[:-1]
    two = score(odd, replace(COMPUTE, processes=2, threads=1))
    assert len(two.computed) == len(odd)
    assert len(two.logps) == len(odd)


def test_two_processes_agree_with_one(items, tiny_model, tmp_path):
    from dataclasses import replace

    def run(processes):
        compute = replace(COMPUTE, processes=processes)
        store = LogprobStore(tmp_path / f"cache-{processes}.sqlite")
        return score_through_cache(items[:-1], tiny_model("llama"), compute, store, tmp_path / "scratch")

    np.testing.assert_allclose(run(2).logps, run(1).logps, atol=1e-4)


def test_killed_pass_goes_on_where_it_was(score, tmp_path, items, monkeypatch, worker_pids, hold_workers):
    store = LogprobStore(tmp_path / "cache.sqlite")
    put = LogprobStore.put

    def put_and_kill(self, logps, model):
        put(self, logps, model)
        for pid in worker_pids(tmp_path):
            os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(LogprobStore, "put", put_and_kill)
    many = [*items, *(Item([i % 250, i // 250], [1, 2, 3]) for i in range(300))]
    with hold_workers(3, event="scores"), pytest.raises(WorkerError, match="was ended by signal 9"):
        score(many)
    monkeypatch.undo()
    kept = len(store)
    assert 0 < kept < len(many)
    assert len(score(many).computed) == len(many) - kept


def test_progress_is_published(score, items):
    seen = []
    end = events.subscribe(seen.append)
    score(items)
    end()
    last = [event for event in seen if event["event"] == "progress"][-1]
    assert last["done"] == last["total"] == len(items)

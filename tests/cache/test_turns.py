"""Processes that need the same log-probs at the same time: one computes, the others wait and find them."""

import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from bdpo_pipeline.cache.repair import check
from bdpo_pipeline.cache.rows import Model
from bdpo_pipeline.cache.store import LogprobStore
from bdpo_pipeline.cache.summary import summarise
from bdpo_pipeline.cache.turns import turn

MODEL = Model("ab" * 32, "float32")

HOLDS = """
import sys, time
from pathlib import Path
from bdpo_pipeline.cache.rows import Model
from bdpo_pipeline.cache.turns import turn
with turn(Path(sys.argv[1]), Model("ab" * 32, "float32"), is_done=lambda: False):
    print("mine", flush=True)
    time.sleep(600)
"""

# Both processes need 900 log-probs, and each up to 100 of its own.
SCORES = """
import json, logging, sys
from pathlib import Path
from bdpo_pipeline.cache.scoring import Item, score_through_cache
from bdpo_pipeline.cache.store import LogprobStore
from bdpo_pipeline.engine.jobs import Compute
base, folder, own = json.loads(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
logging.basicConfig(level=logging.INFO, format="%(message)s")
numbers = [*range(900), *range(own, own + 100)]
items = [Item([i % 250, i // 250], [1, 2, 3]) for i in numbers]
compute = Compute(device="cpu", threads=1, tokens_per_batch=200)
scores = score_through_cache(items, base, compute, LogprobStore(folder / "cache.sqlite"), folder / "scratch")
print(json.dumps({"computed": len(scores.computed), "logps": scores.logps[:900]}))
"""


def start(script: str, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def holder(tmp_path):
    process = start(HOLDS, str(tmp_path / "cache.sqlite"))
    assert process.stdout.readline() == "mine\n"
    yield process
    process.kill()
    process.communicate()


def test_who_waits_says_for_whom_and_goes_on_when_that_process_is_killed(holder, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    asked: list[float] = []

    def kill() -> bool:
        asked.append(time.monotonic())
        os.kill(holder.pid, signal.SIGKILL)
        return False

    with turn(tmp_path / "cache.sqlite", MODEL, is_done=kill):
        pass
    assert len(asked) == 1
    assert f"(process {holder.pid}, since 20" in caplog.text


def test_who_waits_goes_on_when_nothing_is_missing_any_more(holder, tmp_path):
    with turn(tmp_path / "cache.sqlite", MODEL, is_done=lambda: True):
        assert holder.poll() is None


def test_another_model_does_not_wait(holder, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with turn(tmp_path / "cache.sqlite", Model("ab" * 32, "bfloat16/cuda"), is_done=lambda: False):
        assert holder.poll() is None
    assert "waiting" not in caplog.text


@pytest.fixture(scope="module")
def base(tiny_model) -> str:
    return json.dumps(tiny_model("llama"))


def test_two_processes_at_once_compute_every_log_prob_once(base, tmp_path):
    processes = [start(SCORES, base, str(tmp_path), own) for own in ("900", "1000")]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], [err[-3000:] for _, err in outputs]
    results = [json.loads(out.splitlines()[-1]) for out, _ in outputs]
    assert sorted(result["computed"] for result in results) == [100, 1000]
    assert results[0]["logps"] == results[1]["logps"]
    assert sum("waiting for it" in err for _, err in outputs) == 1
    store = LogprobStore(tmp_path / "cache.sqlite")
    assert len(store) == 1100
    assert check(store.path).problems == []


def test_after_a_kill_the_waiting_process_computes_the_rest_only(base, tmp_path, hold_workers):
    path = tmp_path / "cache.sqlite"
    with hold_workers(5, event="scores"):
        first = start(SCORES, base, str(tmp_path), "900")
    store = LogprobStore(path)
    deadline = time.monotonic() + 120
    while len(store) == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second = start(SCORES, base, str(tmp_path), "900")
    while len(store) < 100:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    first.kill()
    first.communicate()
    kept = len(store)
    out, err = second.communicate(timeout=300)
    assert second.returncode == 0, err[-3000:]
    result = json.loads(out.splitlines()[-1])
    assert 0 < kept < 1000
    assert result["computed"] == 1000 - kept
    assert [one.lookup.computed for one in summarise(path).passes] == [1000 - kept]

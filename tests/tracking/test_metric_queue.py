"""The queue of metrics: nothing lost, nothing twice, in order, and errors come back to whoever flushes."""

import subprocess
import sys
import threading
import time

import pytest

from bdpo_pipeline.tracking.metric_queue import MetricQueue


def test_entries_arrive_once_and_in_order_while_a_slow_store_is_not_waited_for() -> None:
    sent: list[tuple[str, int]] = []
    calls = []

    def send(run: str, entries: list[int]) -> None:
        calls.append(len(entries))
        time.sleep(0.02)
        sent.extend((run, entry) for entry in entries)

    queue = MetricQueue(send)
    start = time.monotonic()
    for number in range(200):
        queue.put("ab"[number % 2], [number])
    assert time.monotonic() - start < 0.02 * 200
    queue.flush()
    assert [entry for run, entry in sent if run == "a"] == list(range(0, 200, 2))
    assert [entry for run, entry in sent if run == "b"] == list(range(1, 200, 2))
    assert len(calls) < 200  # what waits together is sent together


def test_flush_waits_for_what_is_being_sent() -> None:
    begun, finished = threading.Event(), []

    def send(run: str, entries: list[int]) -> None:
        begun.set()
        time.sleep(0.2)
        finished.extend(entries)

    queue = MetricQueue(send)
    queue.put("a", [1])
    assert begun.wait(5)
    queue.flush()
    assert finished == [1]


def test_an_error_is_raised_once_by_flush() -> None:
    def send(run: str, entries: list[int]) -> None:
        raise OSError("the server is gone")

    queue = MetricQueue(send)
    queue.put("a", [1])
    with pytest.raises(OSError, match="the server is gone"):
        queue.flush()
    queue.flush()


def test_an_interpreter_that_shuts_down_can_still_flush() -> None:
    """As after Ctrl-C: the flush runs at exit, when thread pools take no work any more."""
    script = """
import atexit, time
from bdpo_pipeline.tracking.metric_queue import MetricQueue
sent = []
def send(run, entries):
    time.sleep(0.2)
    sent.extend(entries)
queue = MetricQueue(send)
atexit.register(lambda: (queue.flush(), print(sent)))
for number in range(40):
    queue.put("a", [number])
raise KeyboardInterrupt
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.strip() == str(list(range(40)))
    assert "KeyboardInterrupt" in done.stderr

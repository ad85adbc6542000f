"""The parts of a study, and how they run side by side: real processes, real graph."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from bdpo_pipeline.commands.study import Part, gpu_shares, parts_of, run_parts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def graph():
    from kedro.framework.project import pipelines

    bootstrap_project(ROOT)
    session = KedroSession.create(ROOT, env="test")
    session.load_context()
    yield pipelines["study"]
    session.close()


def test_every_node_is_in_one_part_or_in_the_rest(graph):
    parts = parts_of(graph)
    in_parts = [node for part in parts for node in part.nodes]
    assert len(in_parts) == len(set(in_parts))
    # What is left needs every part, so it is the last one's.
    for node in {node.name for node in graph.nodes} - set(in_parts):
        assert not set(in_parts) & {below.name for below in graph.from_nodes(node).nodes}
    assert parts[-1].nodes == ()
    assert parts[-1].after == {part.name for part in parts[:-1]}


def test_a_part_waits_for_all_that_it_needs(graph):
    parts = {part.name: part for part in parts_of(graph)}
    for part in parts.values():
        before, waits = set(part.nodes), list(part.after)
        while waits:
            other = parts[waits.pop()]
            before |= set(other.nodes)
            waits += other.after
        needed = {node.name for node in graph.to_nodes(*part.nodes).nodes} if part.nodes else before
        assert needed <= before, part.name


def test_parts_of_one_arm_do_not_wait_for_another_s(graph):
    parts = {part.name: part for part in parts_of(graph)}
    assert parts["bdpo seed 1"].after == {"shared", "bdpo tuning"}
    assert parts["dpo tuning"].after == {"shared"}
    assert parts["base seed 0"].after == {"shared"}


PART = """
import os, sys, time
while not all(map(os.path.exists, sys.argv[2:])):
    time.sleep(0.01)
sys.exit(int(sys.argv[1]))
"""


class Starter:
    """Starts a process for each part, and notes what ran when.

    A part ends at once, but that those named ``together`` each wait until all of them have begun.
    """

    def __init__(self, folder, together=(), failing=()):
        self.folder, self.together, self.failing = folder, together, failing
        self.started, self.processes, self.most, self.places = [], {}, 0, {}

    def __call__(self, part, place):
        alive = [name for name, process in self.processes.items() if process.poll() is None]
        assert place not in {self.places[name] for name in alive}
        self.places[part.name] = place
        self.most = max(self.most, len(alive) + 1)
        for name in part.after:
            assert self.processes[name].poll() == 0, f"{part.name} began before {name} had ended"
        self.started.append(part.name)
        (self.folder / part.name).touch()
        waits_for = self.together if part.name in self.together else ()
        arguments = [str(int(part.name in self.failing)), *(str(self.folder / name) for name in waits_for)]
        self.processes[part.name] = subprocess.Popen([sys.executable, "-c", PART, *arguments], text=True)
        return self.processes[part.name]


def part(name, *after):
    return Part(name, (name,), frozenset(after))


PARTS = [part("first"), part("a", "first"), part("b", "first"), part("c", "a"), part("last", "a", "b", "c")]


@pytest.mark.parametrize("runs", [1, 2, 5])
def test_parts_run_as_many_at_a_time_as_asked_and_in_order(runs, tmp_path):
    starter = Starter(tmp_path, together=("a", "b") if runs > 1 else ())
    assert run_parts(PARTS, runs, starter) == []
    assert sorted(starter.started) == sorted(one.name for one in PARTS)
    assert starter.most == min(runs, 2)
    assert set(starter.places.values()) == set(range(min(runs, 2)))


@pytest.mark.parametrize("runs", range(1, 6))
@pytest.mark.parametrize("number", range(6))
def test_gpus_are_shared_out(runs, number):
    gpus = [f"GPU-{i}" for i in range(number)]
    shares = gpu_shares(gpus, runs)
    assert len(shares) == runs
    assert {gpu for share in shares for gpu in share} == set(gpus[:runs] if number < runs else gpus)
    if number >= runs:  # each GPU is one run's, and none has two more than another
        assert sum(map(len, shares)) == number
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    else:
        assert all(len(share) == min(number, 1) for share in shares)


def test_after_a_failure_no_other_part_starts(tmp_path):
    starter = Starter(tmp_path, failing={"a"})
    assert run_parts(PARTS, 1, starter) == ["a"]
    assert starter.started == ["first", "a"]


def test_an_interrupt_ends_the_parts_that_run(tmp_path):
    starter = Starter(tmp_path, together=("first", "never"))

    def interrupt():
        while not starter.processes:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            run_parts(PARTS, 2, starter)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 30
    assert [process.returncode for process in starter.processes.values()] == [-signal.SIGTERM]

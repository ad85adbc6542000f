"""Trainings that are killed, interrupted, or asked for again: real processes, and the same bytes in the end."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bdpo_pipeline.disk_space import NoSpaceError
from bdpo_pipeline.engine import job_folder, launcher
from bdpo_pipeline.engine.job_folder import AlteredJobError
from bdpo_pipeline.engine.jobs import Compute, LoraSpec, ScoreJob
from bdpo_pipeline.engine.launcher import WorkerError, run_job
from bdpo_pipeline.engine.made_by import made_by
from bdpo_pipeline.locks import alone

from .conftest import make_pairs, wait_for

# What is measured differs from run to run.
MEASURED = ("seconds", "cpu_seconds", "pairs_per_second", "peak_memory_bytes", "resumed_from_step")
# Evaluations, checkpoints and ends of epochs fall on different steps, and best weights are part of the state.
STEPS = 100
LONG = {
    "epochs": 25,
    "evaluate_every": 2,
    "checkpoint_every": 3,
    "early_stopping_patience": 1000,
    "lora": LoraSpec(4, 8, 0.1, "all-linear"),
}
# How a worker reports one.
STEP = {"event": "metrics", "split": "train"}
CALLER = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from conftest import make_job, make_pairs
from bdpo_pipeline.engine.launcher import run_job
from bdpo_pipeline.engine.jobs import LoraSpec
LONG = {long!r}
pairs = make_pairs()
run_job(make_job(sys.argv[2], processes={processes}, **LONG), Path(sys.argv[3]), ragged=pairs.ragged, flat=pairs.flat)
"""


def outcome(result, folder):
    """The bytes of all files of the adapter, and all of the result that is not measured."""
    plain = {name: value for name, value in result.items() if name not in MEASURED}
    files = {path.name: path.read_bytes() for path in (folder / "adapter").iterdir()}
    return files, json.dumps(plain, sort_keys=True)


@pytest.fixture(scope="module")
def uninterrupted(job, pairs, tmp_path_factory):
    """The result and the folder of a training that nothing disturbed."""
    scratch = tmp_path_factory.mktemp("whole")
    return run_job(job(**LONG), scratch, ragged=pairs.ragged, flat=pairs.flat)


@pytest.fixture(scope="module")
def expected(uninterrupted):
    """What an uninterrupted training ends with."""
    return outcome(*uninterrupted)


def on_disk(place: Path) -> int:
    """Bytes that a file, or all files of a folder, take up on a file system with pages of 4096 bytes."""
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in files)


def fill(disk: Path, but: int) -> Path:
    """Fill a disk up to so many bytes; return the file that does it."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - but))
    return ballast


def start_caller(scratch: Path, model: str, processes: int = 1) -> "subprocess.Popen[bytes]":
    script = CALLER.format(long=LONG, processes=processes)
    arguments = [str(Path(__file__).parent), model, str(scratch)]
    return subprocess.Popen([sys.executable, "-c", script, *arguments], start_new_session=True)


def steps_done(scratch: Path) -> list[int]:
    """The steps that the attempt in hand has reported."""
    events = [
        json.loads(line)
        for path in scratch.glob("train-*/events-0.jsonl")
        for line in path.read_text().splitlines()
        if line.endswith("}")
    ]
    return [event["step"] for event in events if event["event"] == "metrics" and event["split"] == "train"]


def kill(scratch: Path, caller: "subprocess.Popen[bytes]", workers: list[int], target: str) -> None:
    """Kill the worker, its caller, or both, and wait until nothing of them lives."""
    for pid in workers if target in ("worker", "both") else []:
        os.kill(pid, signal.SIGKILL)
    if target in ("caller", "both"):
        caller.kill()
    caller.wait()
    for path in scratch.glob("train-*/events-*.jsonl"):
        path.unlink()


@pytest.mark.parametrize("target", ["worker", "caller", "both"])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    target, expected, train, job, tmp_path, worker_pids, hold_workers
):
    moments = random.Random(target)
    for _ in range(3):
        with hold_workers(25, **STEP):
            caller = start_caller(tmp_path, job().model)
        wanted = moments.randrange(2, 20)
        wait_for(lambda wanted=wanted: len(steps_done(tmp_path)) >= wanted)
        time.sleep(moments.uniform(0, 0.05))
        assert caller.poll() is None
        kill(tmp_path, caller, worker_pids(tmp_path), target)
        wait_for(lambda: not worker_pids(tmp_path), 20)
    result, folder = train(job(**LONG))
    assert result["resumed_from_step"] > 0
    assert outcome(result, folder) == expected


def test_killed_in_the_last_moments_it_ends_with_the_same_bytes(expected, train, job, tmp_path, worker_pids):
    # While the adapter is saved, before the result is there, and after that.
    for seconds in (0.0, 0.02, 0.05, 0.2):
        caller = start_caller(tmp_path, job().model)
        wait_for(lambda caller=caller: STEPS - 1 in steps_done(tmp_path) or caller.poll() is not None)
        time.sleep(seconds)
        kill(tmp_path, caller, worker_pids(tmp_path), "both")
    assert outcome(*train(job(**LONG))) == expected


class InterruptsOnce:
    """Interrupts at the first training step that it hears of, and only there: a second interrupt ends it without a checkpoint."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def __call__(self, event) -> None:
        if event["event"] == "metrics" and event["split"] == "train":
            self.steps.append(event["step"])
            if len(self.steps) == 1:
                raise KeyboardInterrupt


@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupt_ends_after_the_step_in_hand_with_a_checkpoint(
    processes, train, job, tmp_path, worker_pids, hold_workers, caplog
):
    caplog.set_level("INFO", "bdpo_pipeline")
    wanted = job(**LONG | {"checkpoint_every": 1000}, processes=processes)
    interrupts = InterruptsOnce()
    with hold_workers(5, until_asked_to_stop=True, **STEP), pytest.raises(KeyboardInterrupt):
        train(wanted, on_event=interrupts)
    assert not worker_pids(tmp_path)
    done = interrupts.steps[-1] + 1
    assert done <= 5
    [checkpoint] = tmp_path.glob("train-*/checkpoint-*")
    # All that was reported is in the checkpoint, and no process has gone a step further.
    assert checkpoint.name == f"checkpoint-{done:08d}"
    assert f"Training stops after {done} steps" in caplog.text
    result, folder = train(wanted)
    assert result["resumed_from_step"] == done
    resumed = outcome(result, folder)
    shutil.rmtree(folder)
    assert outcome(*train(wanted)) == resumed


def test_threads_that_torch_chose_are_used_alike_after_an_interrupt(job, tmp_path, hold_workers):
    # On some processors MKL splits a product of this size otherwise once a number was set, and sums come out otherwise.
    pairs, wanted = make_pairs(8, 2, longest=500), job(**LONG | {"epochs": 20, "evaluate_every": 100})
    wanted = replace(wanted, compute=Compute(device="cpu", threads=None, tokens_per_batch=4000))

    def run(scratch, **options):
        return run_job(wanted, scratch, ragged=pairs.ragged, flat=pairs.flat, **options)

    with hold_workers(3, until_asked_to_stop=True, **STEP), pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", on_event=InterruptsOnce())
    result, folder = run(tmp_path / "cut")
    assert 1 <= result["resumed_from_step"] <= 3
    assert outcome(result, folder) == outcome(*run(tmp_path / "whole"))


def test_a_second_interrupt_ends_at_once(train, job, tmp_path, worker_pids, hold_workers, caplog):
    def interrupt_again():
        wait_for(lambda: list(tmp_path.glob("train-*/stop")))
        os.kill(os.getpid(), signal.SIGINT)

    second = threading.Thread(target=interrupt_again)
    second.start()
    # In the midst of a step that takes for ever.
    with hold_workers(1, **STEP), pytest.raises(KeyboardInterrupt):
        train(job(checkpoint_every=10_000), on_event=InterruptsOnce())
    assert not worker_pids(tmp_path)
    second.join()
    assert "It did not stop within" not in caplog.text
    assert not list(tmp_path.glob("train-*/checkpoint-*"))


def test_what_a_pass_had_reported_at_an_interrupt_is_not_lost(job, tmp_path):
    number = 400
    ragged = {"contexts": [[1, 2, 3]], "responses": [[i % 250, i // 250] for i in range(number)]}
    reported = []

    def interrupt(event):
        if event["event"] == "scores":
            reported.append(event)
            if len(reported) == 1:
                [file] = tmp_path.glob("score-*/events-0.jsonl")
                wait_for(lambda: file.read_text().count('"scores"') > 1)
                raise KeyboardInterrupt

    compute = Compute(threads=1, tokens_per_batch=8)
    flat = {"response_context": np.zeros(number, np.int64)}
    with pytest.raises(KeyboardInterrupt):
        run_job(ScoreJob(job().model, compute), tmp_path, ragged=ragged, flat=flat, on_event=interrupt)
    assert len(reported) > 1


def test_results_that_do_not_arrive_are_an_error(job, tmp_path, monkeypatch):
    read = launcher.read_result
    monkeypatch.setattr(launcher, "read_result", lambda folder: {**read(folder), "results": 3})
    score = ScoreJob(job().model, Compute(threads=1))
    tokens = {"contexts": [[1, 2, 3]], "responses": [[4], [5]]}
    with pytest.raises(WorkerError, match="1 of its 3 results did not arrive"):
        run_job(score, tmp_path, ragged=tokens, flat={"response_context": np.zeros(2, np.int64)})


def test_a_training_that_is_done_is_taken_over(train, job):
    events = []
    first, folder = train(job())
    again, same = train(job(), on_event=events.append)
    assert same == folder
    assert json.dumps(again) == json.dumps(first)
    assert [event["event"] for event in events] == ["ran", "finished"]


def test_a_finished_training_whose_adapter_was_altered_is_done_again(train, job, caplog):
    first, folder = train(job())
    path = folder / "adapter" / "adapter_model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    again, _ = train(job())
    assert "adapter/adapter_model.safetensors is missing or was altered" in caplog.text
    assert path.read_bytes() == whole
    assert again["history"] == first["history"]


@pytest.mark.parametrize("first", [0, 1])
def test_of_runs_that_took_the_same_training_the_last_to_be_done_removes_it(first, train, job, tmp_path):
    taken = []

    def note(event):
        if event["event"] == "finished":
            taken.append(event["taken"])

    _, folder = train(job(), on_event=note)
    train(job(), on_event=note)
    taken[first].remove_folder()
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
    taken[1 - first].remove_folder()
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_are_removed_by_one_run_at_a_time(train, job):
    _, folder = train(job())
    removing = threading.Thread(target=launcher.remove_checkpoints, args=(folder,))
    with alone(folder):
        removing.start()
        removing.join(0.3)
        assert list(folder.glob("checkpoint-*"))
    removing.join()
    assert not list(folder.glob("checkpoint-*"))
    launcher.remove_checkpoints(folder)


@pytest.mark.parametrize("name", ["job.json", "tokens.safetensors"])
def test_a_folder_that_is_not_what_its_name_says_is_an_error(name, train, job):
    _, folder = train(job())
    (folder / "result.json").unlink()
    content = bytearray((folder / name).read_bytes())
    content[-3] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(
        AlteredJobError, match=rf"{name} (is missing or )?was altered: .* remove .*{folder.name}"
    ):
        train(job())


def test_a_damaged_newest_checkpoint_costs_a_warning_and_some_steps(train, job, caplog):
    first, folder = train(job())
    adapter = (folder / "adapter" / "adapter_model.safetensors").read_bytes()
    (folder / "result.json").unlink()
    newest = max(folder.glob("checkpoint-*"))
    path = newest / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    again, _ = train(job())
    assert f"{newest} is damaged and was removed (state.safetensors has " in caplog.text
    assert "the one before is tried" in caplog.text
    assert again["resumed_from_step"] == 7
    assert again["history"] == first["history"]
    assert (folder / "adapter" / "adapter_model.safetensors").read_bytes() == adapter


def test_a_full_disk_stops_training_clearly_and_it_goes_on_when_there_is_room(
    uninterrupted, expected, job, pairs, small_disk
):
    _, whole = uninterrupted
    before_its_end = [path for path in whole.iterdir() if path.name not in ("adapter", "result.json")]
    disk = small_disk(6_000_000)
    # The last two checkpoints are kept while another is written: room for all but half of that one, so that nothing else can fail.
    room = sum(map(on_disk, before_its_end)) + on_disk(max(whole.glob("checkpoint-*"))) // 2
    ballast = fill(disk, but=room)
    with pytest.raises(
        WorkerError, match=r"NoSpaceError: .*checkpoint-\d+.* bytes are free .* bytes are needed"
    ):
        run_job(job(**LONG), disk, ragged=pairs.ragged, flat=pairs.flat)
    assert len(list(disk.glob("train-*/checkpoint-*"))) == 2
    assert not list(disk.glob("train-*/.checkpoint-*"))
    ballast.unlink()
    result, folder = run_job(job(**LONG), disk, ragged=pairs.ragged, flat=pairs.flat)
    assert result["resumed_from_step"] > 0
    assert outcome(result, folder) == expected


def test_what_keeps_an_interrupted_training_from_its_checkpoint_is_said(
    uninterrupted, job, pairs, small_disk, hold_workers, caplog
):
    _, whole = uninterrupted
    disk = small_disk(6_000_000)
    # For what there is before it, and what a few steps report.
    fill(disk, but=on_disk(whole / "tokens.safetensors") + on_disk(whole / "job.json") + 32_768)
    with hold_workers(3, until_asked_to_stop=True, **STEP), pytest.raises(KeyboardInterrupt):
        run_job(
            job(**LONG | {"checkpoint_every": 1000}),
            disk,
            ragged=pairs.ragged,
            flat=pairs.flat,
            on_event=InterruptsOnce(),
        )
    assert "the train worker failed: NoSpaceError: " in caplog.text
    assert not list(disk.glob("train-*/*checkpoint-*"))


def test_no_room_for_the_tokens_is_a_clear_error(job, small_disk):
    disk = small_disk(40_000)
    many = make_pairs(2000)
    with pytest.raises(NoSpaceError, match=r"tokens\.safetensors: .* bytes are needed"):
        run_job(job(), disk, ragged=many.ragged, flat=many.flat)
    assert not [path for path in disk.rglob("*") if path.is_file()]


def test_processes_that_a_dead_launcher_has_just_started_do_not_live_on(
    job, tmp_path, worker_pids, hold_workers
):
    # Importing torch takes them seconds, in which they could not hear of it yet.
    with hold_workers(1):
        caller = start_caller(tmp_path, job().model, processes=2)
    wait_for(lambda: len(worker_pids(tmp_path)) >= 2)
    caller.kill()
    caller.wait()
    wait_for(lambda: not worker_pids(tmp_path), 20)
    time.sleep(1.0)
    assert not worker_pids(tmp_path)
    assert steps_done(tmp_path) == []


def test_what_killed_passes_left_is_removed_and_what_goes_on_is_not(train, job, tmp_path):
    left, alive = tmp_path / "score-left", tmp_path / "generate-alive"
    for folder in (left, alive):
        folder.mkdir()
        (folder / "tokens.safetensors").write_bytes(b"")
    (tmp_path / "train-gone.lock").touch()
    (tmp_path / "train-unfinished").mkdir()
    with alone(alive):
        train(job(epochs=1))
        assert alive.exists()
    assert not left.exists()
    assert not list(tmp_path.glob("*.lock"))
    assert (tmp_path / "train-unfinished").exists()


def test_other_code_in_the_worker_is_an_error(train, job, monkeypatch):
    monkeypatch.setattr(job_folder, "made_by", lambda: {**made_by(), "torch": "1.0"})
    with pytest.raises(WorkerError, match=r"OtherCodeError: .* torch .* here and 1\.0 there"):
        train(job())


def test_a_job_of_more_threads_is_another_job_and_says_so(train, job, caplog):
    _, folder = train(job())
    (folder / "result.json").unlink()  # as if killed before
    changed = replace(job(), compute=replace(job().compute, threads=2))
    result, _ = train(changed)
    assert result["resumed_from_step"] == 0
    assert f"{folder} holds an unfinished one" in caplog.text
    assert "compute.threads: 1 -> 2" in caplog.text
    caplog.clear()
    assert train(job())[0]["resumed_from_step"] >= 4
    assert "unfinished" not in caplog.text

"""Checkpoints: nothing altered is taken, the one before is, and neither a kill nor a full disk costs the last good one."""

import json
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from bdpo_pipeline.disk_space import NoSpaceError
from bdpo_pipeline.engine import checkpoint as checkpoints
from bdpo_pipeline.engine.checkpoint import (
    TrainingState,
    carry_over,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.sealed import seal, unseal
from bdpo_pipeline.engine.weights import TrainedWeights


class Training:
    """A few steps of a small model, with its checkpoints in a folder."""

    def __init__(self, folder: Path, width: int = 6) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Linear(width, 3)
        self.weights = TrainedWeights(self.model)
        self.optimiser = torch.optim.AdamW(self.weights.parameters, lr=0.1)
        self.events = []
        self.context = WorkerContext(folder, Accelerator(cpu=True), self.events.append, self.events.append)
        self.context.facts["tokens_per_batch"] = 512
        self.state = TrainingState(0, [], 0, None, None, 0, {})
        folder.mkdir(exist_ok=True)

    def step(self) -> None:
        self.optimiser.zero_grad()
        loss = self.model(torch.ones(1, self.model.in_features)).pow(2).sum()
        loss.backward()
        self.optimiser.step()
        self.state.history.append({"step": self.state.step, "loss": loss.item()})
        self.state.step += 1
        if self.state.step == 1:
            self.state.best_loss, self.state.best_step = loss.item(), 1
            self.state.best_weights = self.weights.snapshot()

    def save(self) -> None:
        save_checkpoint(self.context, self.state, self.weights, self.optimiser)

    def find(self) -> checkpoints.Checkpoint | None:
        return find_checkpoint(self.context)

    @property
    def warnings(self) -> list[str]:
        return [event["message"] for event in self.events if event["event"] == "warning"]


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path / "train-a")


@pytest.fixture
def saved(training: Training) -> Training:
    """With checkpoints after steps 2 and 3."""
    training.step()
    for _ in range(2):
        training.step()
        training.save()
    return training


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_training_goes_on_as_if_it_had_not_stopped(saved: Training) -> None:
    again = Training(saved.context.folder)
    found = again.find()
    again.state = load_checkpoint(found, again.context, again.weights, again.optimiser)
    assert again.state.step == 3
    assert again.state.history == saved.state.history
    assert (again.state.best_loss, again.state.best_step) == (saved.state.best_loss, 1)
    for name, value in saved.state.best_weights.items():
        assert torch.equal(again.state.best_weights[name], value)
    assert found.layout == {"tokens_per_batch": 512}
    for each in (saved, again):
        each.step()
    for name, value in saved.weights.snapshot().items():
        assert torch.equal(again.weights.snapshot()[name], value)
    assert again.state.history == saved.state.history
    assert again.warnings == []


def test_the_newest_two_stay(saved: Training) -> None:
    saved.step()
    saved.save()
    assert names(saved.context.folder) == ["checkpoint-00000003", "checkpoint-00000004"]


def test_without_one_there_is_none(training: Training) -> None:
    assert training.find() is None
    assert training.warnings == []


def altered_bytes(path: Path, most: int) -> list[int]:
    number = path.stat().st_size
    if number <= most:
        return list(range(number))
    return [0, number - 1, *random.Random(0).sample(range(1, number - 1), most)]


def test_one_altered_byte_anywhere_is_found(saved: Training, tmp_path: Path) -> None:
    folder = saved.context.folder
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    tried = 0
    for name in ("state.json", "state.safetensors"):
        for place in altered_bytes(folder / "checkpoint-00000003" / name, 400):
            path = folder / "checkpoint-00000003" / name
            content = bytearray(path.read_bytes())
            content[place] ^= 1 << (place % 8)
            path.write_bytes(content)
            found = saved.find()
            assert found is not None, (name, place)
            assert found.plain["step"] == 2, (name, place)
            assert name in saved.warnings[-1]
            assert "the one before is tried" in saved.warnings[-1]
            shutil.copytree(kept / "checkpoint-00000003", folder / "checkpoint-00000003")
            tried += 1
    assert tried > 500
    assert saved.find().plain["step"] == 3


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def swap(path: Path) -> None:
    path.write_bytes((path.parents[1] / "checkpoint-00000002" / path.name).read_bytes())


def another_job(path: Path) -> None:
    state = path.with_name("state.json")
    state.write_text(seal(unseal(state) | {"job": "train-b"}))


@pytest.mark.parametrize(
    ("file", "harm", "message"),
    [
        ("state.json", Path.unlink, r"state\.json is missing"),
        ("state.json", truncate, r"state\.json is torn"),
        ("state.json", swap, "it is step 2 of train-a"),
        ("state.json", another_job, "it is step 3 of train-b"),
        ("state.safetensors", Path.unlink, r"state\.safetensors is missing"),
        ("state.safetensors", truncate, r"state\.safetensors has \d+ bytes instead of \d+"),
        ("state.safetensors", swap, r"state\.safetensors was altered"),
    ],
)
def test_a_damaged_one_is_named_and_the_one_before_is_taken(
    saved: Training, file: str, harm: Callable[[Path], None], message: str
) -> None:
    newest = saved.context.folder / "checkpoint-00000003"
    harm(newest / file)
    assert saved.find().plain["step"] == 2
    [warning] = saved.warnings
    assert str(newest) in warning
    assert re.search(message, warning)


def test_if_none_is_whole_training_starts_anew_and_says_so(saved: Training) -> None:
    for folder in saved.context.folder.iterdir():
        (folder / "state.json").unlink()
    assert saved.find() is None
    assert "the one before is tried" in saved.warnings[0]
    assert "training starts anew" in saved.warnings[1]
    assert names(saved.context.folder) == []


def test_after_a_damaged_one_its_step_can_be_written_again(saved: Training) -> None:
    (saved.context.folder / "checkpoint-00000003" / "state.safetensors").unlink()
    again = Training(saved.context.folder)
    again.state = load_checkpoint(again.find(), again.context, again.weights, again.optimiser)
    again.step()
    again.save()
    assert again.find().plain["step"] == 3
    assert names(saved.context.folder) == ["checkpoint-00000002", "checkpoint-00000003"]


def test_what_a_kill_left_half_written_is_no_checkpoint(saved: Training) -> None:
    left = saved.context.folder / ".checkpoint-00000004"
    left.mkdir()
    (left / "state.safetensors").write_bytes(b"torn")
    assert saved.find().plain["step"] == 3
    saved.step()
    saved.save()
    assert saved.find().plain["step"] == 4
    assert not left.exists()


def test_it_has_its_name_only_when_all_of_it_is_on_disk(
    saved: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    monkeypatch.setattr(
        os, "fsync", lambda number: done.append(str(Path(f"/proc/self/fd/{number}").readlink()))
    )
    rename = Path.replace

    def replace(self: Path, target: Path) -> Path:
        done.append(f"{self} -> {target}")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    saved.step()
    saved.save()
    folder = saved.context.folder
    staging, final = folder / ".checkpoint-00000004", folder / "checkpoint-00000004"
    renamed = done.index(f"{staging} -> {final}")
    assert {f"{staging}/state.safetensors", f"{staging}/state.json", str(staging)} <= set(done[:renamed])
    assert done[:renamed][-1] == str(staging)
    assert str(folder) in done[renamed:]


def test_a_full_disk_is_a_clear_error_and_costs_nothing(small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(1_600_000)
    training = Training(disk / "train-a", width=8000)
    training.step()
    training.save()
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - 60_000))
    training.step()
    before = {path: path.read_bytes() for path in (disk / "train-a").rglob("*") if path.is_file()}
    with pytest.raises(
        NoSpaceError, match=r"checkpoint-00000002: [\d,]+ bytes are free .* [\d,]+ bytes are needed"
    ):
        training.save()
    assert {path: path.read_bytes() for path in (disk / "train-a").rglob("*") if path.is_file()} == before
    filler.unlink()
    training.save()
    assert training.find().plain["step"] == 2


def test_threads_that_the_job_leaves_open_are_those_it_began_with(saved: Training) -> None:
    found = saved.find()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        carry_over(found, saved.context, 2)
        assert torch.get_num_threads() == 2
        carry_over(found, saved.context, None)
        assert torch.get_num_threads() == found.threads == 1
    finally:
        torch.set_num_threads(before)


def test_another_processor_is_named(saved: Training) -> None:
    state = saved.context.folder / "checkpoint-00000003" / "state.json"
    state.write_text(seal(unseal(state) | {"processor": "a CPU with ABACUS"}))
    carry_over(saved.find(), saved.context, 1)
    [warning] = saved.warnings
    assert "written on a CPU with ABACUS" in warning
    assert "last digits" in warning
    assert {"event": "resumed", "step": 3} in saved.events


def test_a_sealed_file_holds_any_number(tmp_path: Path) -> None:
    content = {"values": [0.1, 1e-300, float("inf"), -0.0, None, 2**60, "ü\n"], "nested": {"a": [True]}}
    path = tmp_path / "sealed.json"
    path.write_text(seal(content))
    assert json.dumps(unseal(path)) == json.dumps(content)

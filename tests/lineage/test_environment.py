import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bdpo_pipeline.lineage.environment import git_state, installed_packages, machine


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for command in (
        ["init", "--quiet", "--initial-branch", "trunk"],
        [
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
            "commit",
            "--quiet",
            "--allow-empty",
            "-m",
            "x",
        ],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_a_clean_checkout(checkout: Path) -> None:
    state = git_state(checkout)
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=checkout, text=True).strip()
    assert state is not None
    assert (state.commit, state.branch, state.dirty) == (head, "trunk", False)


def test_a_new_file_makes_it_dirty(checkout: Path) -> None:
    (checkout / "new.py").touch()
    state = git_state(checkout)
    assert state is not None
    assert state.dirty


def test_no_checkout_no_commit_and_no_git_give_none(tmp_path: Path, checkout: Path, monkeypatch) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=empty, check=True)
    assert git_state(empty) is None
    assert git_state(Path("/proc")) is None
    monkeypatch.setenv("PATH", "")
    assert git_state(checkout) is None


def test_packages_are_those_installed() -> None:
    packages = installed_packages()
    assert packages["torch"] == torch.__version__
    assert "kedro" in packages


def test_the_machine_is_this_one() -> None:
    found = machine()
    assert found["python"] == sys.version.split()[0]
    assert int(found["cores"]) == len(os.sched_getaffinity(0))
    assert float(found["memory_gib"]) > 0.5
    assert ("gpus" in found) == torch.cuda.is_available()

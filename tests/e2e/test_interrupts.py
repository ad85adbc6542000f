"""Ctrl-C and SIGTERM to a real `kedro run`: a checkpoint, a tidy end, and a command that continues."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from bdpo_pipeline.interrupts import RUNNER

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def data_root(chain, tmp_path) -> Path:
    """What the chain made, up to the training."""
    return Path(shutil.copytree(chain.data_root, tmp_path / "my data"))


def steps(data_root: Path) -> list[int]:
    lines = [
        json.loads(line)
        for path in data_root.glob("scratch/train-*/events-0.jsonl")
        for line in path.read_text().splitlines()
        if line.endswith("}")
    ]
    return [event["step"] for event in lines if event["event"] == "metrics" and event["split"] == "train"]


def interrupt(command: list[str], data_root: Path, number: int, *, group: bool) -> tuple[int, str]:
    """Send a signal when training has done some steps; return exit code and all that was printed."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while len(steps(data_root)) < 3 and process.poll() is None:
        assert time.monotonic() < deadline, "training did not begin"
        time.sleep(0.02)
    (os.killpg if group else os.kill)(process.pid, number)
    output = process.communicate(timeout=120)[0]
    return process.returncode, output


def runs_of_last_session(data_root: Path) -> dict[str, str]:
    client = MlflowClient(f"sqlite:///{data_root}/mlflow.db")
    [experiment] = [found for found in client.search_experiments() if found.name != "Default"]
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])
    newest = runs[0].data.tags["kedro.session"]
    return {
        run.info.run_name.replace(newest, "session"): run.info.status
        for run in runs
        if run.data.tags["kedro.session"] == newest
    }


@pytest.mark.parametrize(
    ("number", "group"), [(signal.SIGINT, True), (signal.SIGTERM, False)], ids=["ctrl-c", "sigterm"]
)
def test_an_interrupt_ends_tidily_and_its_last_line_continues(
    number, group, data_root, worker_pids, hold_workers
):
    parameters = f"data_root={data_root},training.epochs=10,training.checkpoint_every=10000"
    command = [sys.executable, "-m", "kedro", "run", "--env", "test", "--pipelines", "training"]
    command += ["--params", parameters]
    with hold_workers(5, until_asked_to_stop=True, event="metrics", split="train"):
        code, output = interrupt(command, data_root, number, group=group)
    assert code == 128 + number, output[-4000:]
    assert "Traceback" not in output
    assert not worker_pids(data_root)
    [checkpoint] = data_root.glob("scratch/train-*/checkpoint-*")
    assert checkpoint.name == f"checkpoint-{max(steps(data_root)) + 1:08d}"
    assert runs_of_last_session(data_root) == {"session": "KILLED", "training": "KILLED"}

    last = output.rstrip().splitlines()[-1]
    assert shlex.split(last) == [*command, "--runner", RUNNER]
    done = subprocess.run(last, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S602
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    newest = max((data_root / "05_training" / "training_execution.json").glob("*/training_execution.json"))
    assert json.loads(newest.read_text())["resumed_from_step"] == int(checkpoint.name[-8:])
    assert runs_of_last_session(data_root) == {"session": "FINISHED", "training": "FINISHED"}
    # Its outputs are in the catalog, so nothing of it is kept.
    assert list((data_root / "scratch").iterdir()) == []

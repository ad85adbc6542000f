"""A job over two "machines": the launcher on one, a follower as the other, each with its own file of Accelerate's. Real processes."""

import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import yaml
from safetensors.torch import load_file
from torch.testing import assert_close

from bdpo_pipeline.engine.follow import Runs
from bdpo_pipeline.engine.launching import LaunchConfigError, announced, started


def write_config(path, **changes) -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU",
        "main_process_ip": "127.0.0.1",
        "main_process_port": port,
        "machine_rank": 0,
        "num_machines": 2,
        "num_processes": 2,
        "rdzv_backend": "static",
        "same_network": True,
    }
    path.write_text(yaml.safe_dump(config | changes))
    return str(path)


def test_two_machines_train_the_adapter_of_one(job, train, tmp_path, worker_pids):
    alone = job(epochs=1)
    _, folder = train(alone)
    expected = load_file(folder / "adapter" / "adapter_model.safetensors")

    here = write_config(tmp_path / "rank0.yaml")
    there = tmp_path / "rank1.yaml"
    there.write_text(
        yaml.safe_dump(yaml.safe_load((tmp_path / "rank0.yaml").read_text()) | {"machine_rank": 1})
    )
    command = [sys.executable, "-m", "bdpo_pipeline.engine.follow", str(tmp_path), str(there)]
    follower = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        compute = replace(alone.compute, processes=2, accelerate_config=here)
        result, folder = train(replace(alone, compute=compute))
        another, _ = train(replace(alone, compute=compute, pairs_per_step=7))
    finally:
        follower.send_signal(signal.SIGTERM)
        said = follower.communicate(timeout=30)[1]
    assert result["processes"] == 2, said
    assert another["processes"] == 2, said
    assert said.count(": joined") == 2
    assert "ended here with exit code 0" in said
    assert folder.name in said
    found = load_file(folder / "adapter" / "adapter_model.safetensors")
    assert_close(found, expected, rtol=0, atol=1e-5)
    assert worker_pids(tmp_path) == []
    assert not (folder / "attempt").exists()


def test_a_follower_sees_runs_that_live_and_not_what_a_killed_one_left(tmp_path):
    left, alive = tmp_path / "train-left", tmp_path / "train-alive"
    left.mkdir()
    alive.mkdir()
    (left / "attempt").write_text("mark of a run that was killed")
    runs = Runs(tmp_path)
    with announced(alive):
        deadline = time.monotonic() + 30
        while not (found := runs.look()) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert list(found.values()) == [alive]
    assert runs.look() == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distributed_type": "FSDP"}, "the engine spreads weights itself"),
        ({"distributed_type": "DEEPSPEED"}, "must be MULTI_GPU"),
        ({"num_processes": 4}, "num_processes is 4 and compute.processes is 2"),
    ],
)
def test_a_file_that_starts_something_else_is_refused(job, tmp_path, changes, message):
    config = write_config(tmp_path / "config.yaml", **changes)
    compute = replace(job().compute, processes=2, accelerate_config=config)
    with pytest.raises(LaunchConfigError, match=message), started(compute, tmp_path, tmp_path / "log"):
        pass


def test_a_file_that_is_not_there_is_named(job, tmp_path):
    compute = replace(job().compute, processes=2, accelerate_config=str(tmp_path / "none.yaml"))
    with (
        pytest.raises(LaunchConfigError, match=r"none\.yaml'.*no such file"),
        started(compute, tmp_path, tmp_path / "log"),
    ):
        pass

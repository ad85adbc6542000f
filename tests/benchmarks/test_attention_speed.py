"""The benchmark of the ways to attend runs without a GPU, small; what needs one says so."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu"


def test_ways_that_run_agree_and_one_that_does_not_says_why(tmp_path):
    out = tmp_path / "page.md"
    arguments = ["--device", "cpu", "--dtype", "float32", "--places", "300", "--shapes", "SmolLM2-135M"]
    command = [sys.executable, str(HERE / "attention.py"), str(out), *arguments, "--repeats", "1"]
    subprocess.run(command, check=True, capture_output=True)
    lines = [line.strip("| ").split(" | ") for line in out.read_text().splitlines() if line.startswith("| ")]
    ways = {cells[2]: cells[3:] for cells in lines[1:]}
    assert set(ways) == {"loop", "flex", "dense"}
    for way in ("loop", "dense"):
        assert float(ways[way][0]) > 0
        assert float(ways[way][-1]) < 1e-5
    assert "FlexAttention does not support backward on CPU" in ways["flex"][0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="would run the whole benchmark")
def test_without_a_gpu_the_one_command_says_so():
    command = ["bash", str(HERE / "run.sh")]
    done = subprocess.run(
        command, env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "torch finds no CUDA device" in done.stderr

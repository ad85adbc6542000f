"""A `kedro run` that is killed some times and continues ends with the bytes of one that was not; benchmarks/kills.py does it at size."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_killed_runs_end_with_the_same_bytes(chain, tmp_path):
    page = tmp_path / "kills.md"
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "kills.py"),
        "--kills",
        "3",
        "--pipelines",
        "training",
    ]
    command += ["--beginning", str(chain.data_root), "--work", str(tmp_path / "work"), "--page", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    text = page.read_text()
    assert len(re.findall(r"^\| \d+ \| \d+ \|", text, re.M)) == 3
    rows = dict(re.findall(r"^\| `(.+)` \| (\d+ of \d+)", text, re.M))
    number = rows["adapter/adapter_model.safetensors"].split()[-1]
    for name in ("adapter/adapter_model.safetensors", "training_history.csv", "training_summary.json"):
        assert rows[name] == f"{number} of {number}"

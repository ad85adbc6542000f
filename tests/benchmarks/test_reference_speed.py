"""The benchmark of the reference pass, in small: both ways score alike, and the marginal pass shares its context."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bdpo_pipeline.reference.marginals import single_context

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "reference" / "compare.py"


def test_ours_and_the_plain_way_score_alike(tmp_path):
    work, out = tmp_path / "work", tmp_path / "out"
    options = [
        "--model=tiny_random:llama",
        "--pairs=3",
        "--longest=2000",
        "--threads=1",
        "--dtypes",
        "float32",
    ]
    options += ["--tokens-per-batch=4096", f"--work={work}", f"--out={out}"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    rows = [json.loads(path.read_text()) for path in (work / "results").glob("*.json")]
    found = {(row["pass"], row["reference"]): row for row in rows if "pass" in row}
    for which in ("conditional", "marginal"):
        ours, plain = found[which, "ours"], found[which, "plain"]
        assert ours["logps"] == pytest.approx(plain["logps"], abs=1e-2)
        assert ours["seconds"] > 0
        assert ours["places"] < ours["places_apart"] <= plain["places"]
        assert ours["needed_flops"] > 0
    spared = {
        which: row["places_apart"] - row["places"] for (which, who), row in found.items() if who == "ours"
    }
    [workload] = (work / "workloads").iterdir()
    pairs = [json.loads(line) for line in (workload / "natural.jsonl").read_text().splitlines()]
    # Each prompt once for two responses, the empty one once for six.
    assert spared["conditional"] >= sum(len(pair["prompt_ids"]) for pair in pairs)
    empty = single_context(json.loads((workload / "base_model.json").read_text())["path"], "empty_prompt")
    assert spared["marginal"] == 5 * len(empty)
    page = (out / "results" / "reference_speed.md").read_text()
    assert page.count("| conditional | ") == 3
    assert page.count("| marginal | ") == 3
    assert str(tmp_path) not in page

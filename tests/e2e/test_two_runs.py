"""Two `kedro run`s at once on one project: nothing torn, nothing mixed, nothing computed twice."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bdpo_pipeline.cache.repair import check
from bdpo_pipeline.cache.summary import summarise
from bdpo_pipeline.lineage.artifacts import record_path
from bdpo_pipeline.lineage.record import read_record

ROOT = Path(__file__).resolve().parents[2]
PREPARATION = "base_model,ingestion,filtering,reference"


def start(data_root: Path, log: Path, *arguments: str) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "kedro",
        "run",
        "--env",
        "test",
        "--params",
        f"data_root={data_root}",
        *arguments,
    ]
    with log.open("w") as output:
        return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, env={**os.environ})


def artifacts(data_root: Path) -> dict[str, dict[str, Path]]:
    """Versions of every artifact: name, then version, then path."""
    found: dict[str, dict[str, Path]] = {}
    for layer in sorted(data_root.glob("0*_*")):
        for path in layer.glob("*/*Z/*"):
            if path.name == path.parent.parent.name:
                found.setdefault(path.name, {})[path.parent.name] = path
    return found


@pytest.mark.parametrize(("apart", "pipelines"), [(0.0, None), (1.0, PREPARATION)])
def test_two_runs_on_one_project_do_not_disturb_each_other(tmp_path, load_catalog, apart, pipelines) -> None:
    data_root = tmp_path / "data"
    chosen = ("--pipelines", pipelines) if pipelines else ()
    logs = [tmp_path / "first.log", tmp_path / "second.log"]
    runs = []
    for log in logs:
        runs.append(start(data_root, log, *chosen))
        time.sleep(apart)
    codes = [run.wait(timeout=600) for run in runs]
    assert codes == [0, 0], "\n".join(log.read_text()[-5000:] for log in logs)

    # Every artifact has the version of each run, and nothing else lies about.
    found = artifacts(data_root)
    [sessions] = {tuple(sorted(versions)) for versions in found.values()}
    assert len(sessions) == 2
    assert len(found) >= (12 if pipelines else 25)
    assert list(data_root.rglob(".partial-*")) == []

    # Each version is whole, what it was saved as, and made of what its own run made.
    for name, versions in found.items():
        for version, path in versions.items():
            record = read_record(path)
            assert record is not None, record_path(path)
            assert {one.version for _, one in record.made.every_ingredient()} <= {version, None}, name
    catalog = load_catalog(data_root)
    for name in catalog:
        if catalog.exists(name) and Path(str(getattr(catalog[name], "_filepath", ""))).name in found:
            assert catalog.load(name) is not None

    # The same log-probs were needed by both, and computed once.
    reports = [json.loads(path.read_text()) for path in found["reference_report.json"].values()]
    asked = [report[part] for report in reports for part in ("conditional", "marginal")]
    passes = summarise(data_root / "04_reference" / "reference_cache.sqlite").passes
    assert len(passes) == 2
    assert (
        sum(one.lookup.computed for one in passes) == passes[0].lookup.requested == reports[0]["cache_rows"]
    )
    assert sum(one["computed"] for one in asked) >= passes[0].lookup.requested
    assert check(data_root / "04_reference" / "reference_cache.sqlite").problems == []
    first, second = (path.read_bytes() for path in found["reference_logps.parquet"].values())
    assert first == second

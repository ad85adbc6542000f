"""The benchmark of estimators, in small: the table says what the tables of log-probs say, and a second run computes nothing."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "comprehension" / "estimators.py"
ESTIMATORS = ["empty_prompt", "bos", "contrastive, K = 1", "contrastive, K = 2"]


def run(data_root: Path, out: Path) -> str:
    options = ["--pairs=6", "--queries=2", "--env=test", f"--data-root={data_root}", f"--out={out}"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout + done.stderr


def section(page: str, title: str) -> dict[str, list[str]]:
    """Return the rows of a section's table by their first cell."""
    text = page.split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [
        [c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return {row[0]: row[1:] for row in rows[2:]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    data_root, out = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("out")
    run(data_root, out)
    return data_root, out


def test_every_estimator_is_measured_in_the_passes_that_it_takes(made):
    page = (made[1] / "results" / "estimators.md").read_text()
    assert list(section(page, "What they say")) == ESTIMATORS
    costs = section(page, "What they cost")
    assert [costs[name][0] for name in ("conditional", *ESTIMATORS)] == ["2", "2", "2", "2", "4"]
    for row in costs.values():
        forward_passes, seconds = (re.fullmatch(r"(\d+) \(([\d.]+)\)", cell) for cell in row[1:])
        assert forward_passes is not None
        assert seconds is not None
        assert int(forward_passes[1]) > 0
        assert int(seconds[1]) > 0
    assert costs["conditional"][1].endswith("(1.00)")
    assert str(made[0]) not in page


def test_contrastive_stays_below_its_bound_and_is_exact_where_all_queries_are_used(made):
    page = (made[1] / "results" / "estimators.md").read_text()
    for name, cells in section(page, "What they say").items():
        if name.startswith("contrastive"):
            found = re.fullmatch(r"(-?[\d.]+) of at most ([\d.]+)", cells[7])
            assert found is not None
            assert float(found[1]) <= float(found[2])
            assert float(found[2]) == pytest.approx(np.log(int(name[-1]) + 1), abs=0.005)
    known = section(page, "Where the truth is known")
    assert abs(float(known["contrastive, K = 7"][1])) < 1e-4
    assert float(known["contrastive, K = 1"][1]) < -0.1
    assert float(known["bos"][1]) > 0.1


def test_correlations_are_symmetric_with_ones_in_the_diagonal(made):
    page = (made[1] / "results" / "estimators.md").read_text()
    table = section(page, "Rank correlation of I with each other")
    cells = [[float(cell) for cell in row] for row in table.values()]
    np.testing.assert_array_equal(cells, np.transpose(cells))
    np.testing.assert_array_equal(np.diag(cells), 1)


def test_a_second_run_computes_nothing_and_gives_the_same_page_and_plot(made, tmp_path):
    data_root, out = made
    log = run(data_root, tmp_path)
    # What is computed anew is the enumerable model alone.
    assert [found[1] for found in re.finditer(r"(\d+) of \d+ log-probs are to be computed", log)] == ["5850"]
    for name in ("results/estimators.md", "figures/contrastive.svg"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()
    assert ElementTree.parse(out / "figures" / "contrastive.svg").getroot().tag.endswith("svg")  # noqa: S314

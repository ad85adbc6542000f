"""The worked example of docs/objectives.md, done as the page says: one file, one parameters entry, `kedro run`."""

import json
import math
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from bdpo_pipeline.objectives import bind_objective, objective_names

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    return found


def test_an_objective_is_one_file_and_one_parameters_entry(chain, tmp_path, run_kedro) -> None:
    project, data_root = tmp_path / "project", tmp_path / "data"
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("src", "conf"):
        shutil.copytree(ROOT / folder, project / folder, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", project)
    shutil.copytree(chain.data_root, data_root, ignore=shutil.ignore_patterns("mlruns*", "mlflow*"))
    losses = project / "src" / "bdpo_pipeline" / "objectives" / "losses"
    (losses / "hinge.py").write_text(block("python"), encoding="utf-8")
    # The test environment takes the place of the user's own, which would go over it.
    with (project / "conf" / "test" / "parameters.yml").open("a", encoding="utf-8") as parameters:
        parameters.write(block("yaml"))

    run = ("run", "--env", "test", "--pipelines", "reference,training", "--params", f"data_root={data_root}")
    done = run_kedro(*run, cwd=project, PYTHONPATH=str(project / "src"))
    assert done.returncode == 0, done.stdout[-4000:]

    def newest(name: str) -> Path:
        [path] = max((data_root / name).iterdir()).glob(Path(name).name)
        return path

    summary = json.loads(newest("05_training/training_summary.json").read_text())
    assert (summary["objective"], summary["options"]) == ("hinge", {"beta": 0.1})
    # Policy and reference are equal at the start, so the margin is 0 and the loss 1.
    assert summary["step_0_loss"] == pytest.approx(1, abs=1e-4)
    history = pd.read_csv(newest("05_training/training_history.csv"))
    assert history["loss"].map(math.isfinite).all()
    assert history.loc[history["split"] == "train", "loss"].iloc[-1] < 1


@pytest.mark.parametrize("name", objective_names())
def test_the_page_names_every_objective_with_what_it_needs(name: str) -> None:
    [line] = [line for line in PAGE.splitlines() if line.startswith("| ") and f"`{name}`" in line]
    needs = {part.strip() for part in line.split("|")[1].split(",")}
    declared = {need.name.lower().replace("_", " ") for need in bind_objective(name, {}).needs}
    assert needs == (declared or {"nothing"})

"""The import contracts of pyproject.toml hold, and each of them notices a violation."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]


def lint_imports(source: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--config"]
    return subprocess.run(
        [*command, str(ROOT / "pyproject.toml")],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_contracts_hold() -> None:
    done = lint_imports(ROOT / "src")
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("models/planted.py", "import bdpo_pipeline.engine.events", "Imports go downwards"),
        (
            "lineage/planted.py",
            "import bdpo_pipeline.pipelines.training.nodes",
            "Only the registry imports pipelines",
        ),
        ("objectives/planted.py", "import pandas", "Objectives are tensor maths"),
        ("engine/planted.py", "def load():\n    import pandas", "The engine runs where only torch"),
        ("pipelines/training/planted.py", "def step():\n    import torch", "Nodes hold no tensor code"),
        ("filters/planted.py", "import kedro.io", "Only lineage, io and the graphs know Kedro"),
        ("reports/planted.py", "import mlflow", "only tracking knows MLflow"),
        ("planted.py", "", "The following modules are not listed as layers"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, module: str, line: str, contract: str) -> None:
    package = tmp_path / "bdpo_pipeline"
    shutil.copytree(ROOT / "src" / "bdpo_pipeline", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / module).write_text(f"{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode != 0
    reported = [text for text in done.stdout.splitlines() if contract in text]
    assert reported, done.stdout
    assert "KEPT" not in reported[0]


def test_objectives_import_torch_and_the_standard_library_alone() -> None:
    graph = grimp.build_graph("bdpo_pipeline", include_external_packages=True)
    inside = {"bdpo_pipeline.objectives", *graph.find_descendants("bdpo_pipeline.objectives")}
    imported = {target for module in inside for target in graph.find_modules_directly_imported_by(module)}
    outside = {name.partition(".")[0] for name in imported - inside} - sys.stdlib_module_names
    assert outside == {"torch"}

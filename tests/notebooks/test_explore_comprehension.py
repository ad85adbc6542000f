from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "explore_comprehension.ipynb"


def read() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def outputs_of(notebook: nbformat.NotebookNode) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_it_is_kept_without_outputs() -> None:
    notebook = read()
    assert outputs_of(notebook) == []
    assert all(cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


def test_it_runs_on_the_artifacts_of_a_run(
    chain: Any, load_catalog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BDPO_ENV", "test")
    monkeypatch.setenv("BDPO_DATA_ROOT", str(chain.data_root))
    notebook = read()
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    outputs = outputs_of(notebook)
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    pairs = len(load_catalog(chain.data_root).load("comprehension"))
    assert f"{pairs:,} pairs with comprehension" in printed
    drawn = [o for o in outputs if "application/vnd.plotly.v1+json" in o.get("data", {})]
    assert len(drawn) == 4
    tables = [output for output in outputs if "text/html" in output.get("data", {})]
    assert any("one safe response" in table["data"]["text/html"] for table in tables)

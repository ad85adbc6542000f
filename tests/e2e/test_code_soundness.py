"""Every node of the chain runs once under a profiler: each project function that runs, here or in a worker, counts as code of its node.

This is what makes it safe to skip a node whose code did not change.
"""

import ast
import os
import sys
import threading
from importlib import metadata
from pathlib import Path

import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.runner import SequentialRunner

import bdpo_pipeline
from bdpo_pipeline.lineage.code import Code, code_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(bdpo_pipeline.__file__).resolve().parent
# What the session itself does around a node.
FRAME = (
    "bdpo_pipeline.lineage.record",
    "bdpo_pipeline.tracking.",
    "bdpo_pipeline.hooks",
    "bdpo_pipeline.interrupts",
    "bdpo_pipeline.settings",
)

# Once a test of this process has used it, it is called whenever memory is collected, whoever runs then.
NOT_CALLED = {"hypothesis"}

# Runs in every worker process before anything else; a worker ends by os._exit, so each line is written at once.
IN_WORKERS = f"""
import os, sys, threading
seen, out = set(), open(os.environ["CODE_THAT_RAN"], "a", buffering=1)
def note(frame, event, _):
    code = frame.f_code
    if event == "call" and code not in seen:
        seen.add(code)
        if code.co_filename.startswith({str(PACKAGE)!r}):
            out.write(f"{{code.co_filename}}\\t{{code.co_firstlineno}}\\t{{code.co_name}}\\n")
sys.setprofile(note)
threading.setprofile(note)
"""


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def definition(path: Path, line: int) -> set[str]:
    """The top-level definitions that a line of a module belongs to; none for what is imported or loose."""
    for statement in ast.parse(path.read_text()).body:
        first = min([statement.lineno, *(one.lineno for one in getattr(statement, "decorator_list", []))])
        if first <= line <= statement.end_lineno:
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                return {statement.name}
            return {
                node.id
                for node in ast.walk(statement)
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            }
    return set()


def _is_own(file: str) -> bool:
    return file.startswith(str(PACKAGE)) and file.endswith(".py")


class Profile:
    """Notes the code that runs in this process and in workers, and the files of what this project's code calls in this process."""

    def __init__(self, folder: Path) -> None:
        self.ran: set[tuple[str, int, str]] = set()
        self.called: set[str] = set()
        self._worker = folder / "ran"
        (folder / "sitecustomize.py").write_text(IN_WORKERS)

    def __enter__(self) -> "Profile":
        self._worker.write_text("")
        self.ran, self.called = set(), set()
        seen, seen_called = set(), set()

        def note(frame, event, _):
            code = frame.f_code
            if event != "call":
                return
            if code not in seen:
                seen.add(code)
                self.ran.add((code.co_filename, code.co_firstlineno, code.co_name))
            if code not in seen_called and frame.f_back and _is_own(frame.f_back.f_code.co_filename):
                seen_called.add(code)
                self.called.add(code.co_filename)

        sys.setprofile(note)
        threading.setprofile(note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)
        for line in self._worker.read_text().splitlines():
            file, number, name = line.split("\t")
            self.ran.add((file, int(number), name))

    @property
    def definitions(self) -> set[str]:
        """What ran of the project: `module:name`, or the path of a template, which also is compiled to functions."""
        here = {
            (Path(file), line)
            for file, line, name in self.ran
            if file.startswith(str(PACKAGE)) and name != "<module>"
        }
        templates = {path.relative_to(PACKAGE.parent).as_posix() for path, _ in here if path.suffix != ".py"}
        python = {(path, line) for path, line in here if path.suffix == ".py"}
        return templates | {
            f"{name_of(path)}:{name}" for path, line in python for name in definition(path, line)
        }


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, tuple[set[str], Code, set[str]]]:
    """What ran in each node, and the code that it is said to use."""
    folder, data_root = tmp_path_factory.mktemp("profile"), tmp_path_factory.mktemp("data")
    profile, found = Profile(folder), {}
    before = dict(os.environ)
    os.environ |= {"CODE_THAT_RAN": str(folder / "ran"), "PYTHONPATH": str(folder)}
    try:
        bootstrap_project(ROOT)
        with KedroSession.create(
            project_path=ROOT, env="test", runtime_params={"data_root": str(data_root)}
        ) as session:
            catalog = session.load_context().catalog
            whole = pipelines["__default__"]
            for node in whole.nodes:
                one = whole.only_nodes(node.name)
                for name in node.outputs:
                    catalog.get(name, fallback_to_runtime_pattern=True)
                with profile:
                    SequentialRunner().run(one, catalog)
                datasets = {
                    type(catalog.get(name)) for name in [*node.inputs, *node.outputs] if ":" not in name
                }
                found[node.name] = (
                    profile.definitions,
                    code_of([node.func, *datasets]),
                    profile.called,
                )
    finally:
        os.environ.clear()
        os.environ.update(before)
    return found


def test_every_project_function_that_ran_counts(runs):
    missed = {
        name: sorted(one for one in ran - code.definitions.keys() if not one.startswith(FRAME))
        for name, (ran, code, _) in runs.items()
    }
    assert missed == {name: [] for name in runs}
    assert "bdpo_pipeline.engine.training:train" in runs["train_adapter"][0]
    assert "bdpo_pipeline.objectives.losses.bdpo:bdpo" in runs["train_adapter"][0]
    assert "bdpo_pipeline.io.parquet_dataset:StreamedParquetDataset" in runs["select_pairs"][0]
    assert sum(len(ran) for ran, _, _ in runs.values()) > 300


def test_every_installed_package_that_was_called_counts(runs):
    owners = {}
    for distribution in metadata.distributions():
        for file in distribution.files or []:
            if file.suffix == ".py":
                owners[str(distribution.locate_file(file))] = distribution.name
    called = {
        name: {owners[file] for file in files if file in owners} - NOT_CALLED
        for name, (_, _, files) in runs.items()
    }
    missed = {name: sorted(called[name] - code.packages.keys()) for name, (_, code, _) in runs.items()}
    assert missed == {name: [] for name in runs}
    assert {"pandas", "pyarrow", "transformers", "rensa"} <= called["select_pairs"] | {"rensa"}
    assert "plotly" in called["plot_comprehension"]

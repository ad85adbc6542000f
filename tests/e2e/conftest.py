"""One copy of the project, run once, for all tests that edit it."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .fresh_project import Project, Run, copy_the_project


@pytest.fixture(scope="session")
def project_copy(tmp_path_factory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("fresh") / "project"
    folder.mkdir()
    copy_the_project(folder)
    # Opened to append, so that the file can be emptied between runs.
    with (folder / "output").open("a") as output:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fork_server.py"))],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
        yield Project(folder, process)
    process.stdin.close()
    process.wait()


@pytest.fixture(scope="session")
def first_fresh_run(project_copy) -> Run:
    return project_copy.run()


@pytest.fixture
def edited(project_copy, first_fresh_run) -> Iterator[Project]:
    """The project as it was after the first run, and again when the test is over."""
    assert first_fresh_run.status == 0, first_fresh_run.output[-4000:]
    kept = project_copy.folder.with_name("kept")
    if not kept.exists():
        shutil.copytree(project_copy.folder, kept)
    yield project_copy
    for part in ("src", "conf", "data"):
        shutil.rmtree(project_copy.folder / part)
        shutil.copytree(kept / part, project_copy.folder / part)

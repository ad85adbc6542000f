"""What many tests share: one real run of the whole chain, and Kedro in this process for parts of it."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tensors this small wait for their threads longer than they compute: on a busy machine 13 ms for three logsigmoids."""
    import torch

    torch.set_num_threads(1)


@dataclass(frozen=True)
class ChainRun:
    """A finished `kedro run --env test` of the whole chain."""

    data_root: Path
    output: str
    seconds: float
    cpu_seconds: float


# A suite that is started in the background ignores interrupts, and so would all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def kedro(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the environment's own kedro as a user does; stdout and stderr come together."""
    return subprocess.run(
        [sys.executable, "-m", "kedro", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def run_kedro() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run_kedro("run", "--env", "test", cwd=…, NAME="value of an environment variable")`."""
    return kedro


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> ChainRun:
    """The whole chain, run once for all tests that look at what it made."""
    data_root = tmp_path_factory.mktemp("chain")
    start, cpu = time.monotonic(), _children_cpu_seconds()
    done = kedro("run", "--env", "test", "--params", f"data_root={data_root}")
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stdout[-8000:]
    return ChainRun(data_root, done.stdout, seconds, _children_cpu_seconds() - cpu)


def _children_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.fixture(scope="session")
def load_catalog() -> Callable[[Path], DataCatalog]:
    """`load_catalog(data_root)` gives the test environment's catalog over that folder."""
    bootstrap_project(ROOT)

    def load(data_root: Path) -> DataCatalog:
        with _session({"data_root": str(data_root)}) as session:
            return session.load_context().catalog

    return load


@pytest.fixture(scope="session")
def run_pipeline() -> Callable[..., dict[str, Any]]:
    """`run_pipeline(data_root, "ingestion", "filtering", **parameters)` runs pipelines in this process.

    Parameters are merged over those of the test environment; the result holds what is not in the catalog.
    """
    bootstrap_project(ROOT)

    def run(data_root: Path, *names: str, **parameters: Any) -> dict[str, Any]:
        with _session({"data_root": str(data_root), **parameters}) as session:
            return session.run(pipeline_names=list(names))

    return run


def _session(parameters: dict[str, Any]) -> KedroSession:
    return KedroSession.create(project_path=ROOT, env="test", runtime_params=parameters)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """`tiny_model("qwen2")` gives the `base_model` artifact of a tiny random model of that type."""
    from bdpo_pipeline.models.prepare import ModelSource, prepare_base_model

    store = tmp_path_factory.mktemp("models")
    return lambda architecture: prepare_base_model(ModelSource("tiny_random", architecture), store)


@pytest.fixture(scope="session")
def worker_pids() -> Callable[[Path], list[int]]:
    """`worker_pids(folder)` gives the living worker processes whose job lies in the folder."""

    def find(folder: Path) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if "bdpo_pipeline.engine.worker" in command and str(folder) in command and state != "Z":
                found.append(int(entry.name))
        return found

    return find


@pytest.fixture
def hold_workers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AbstractContextManager[None]]:
    """Keeps a worker from going on before a test has done to it what it means to do, however late the test hears of its events.

    Each process of a job that is started in ``with hold_workers(3, event="metrics", split="train"):``, here or by a process that was
    started there, waits right after it has reported the third event like that: for ever, or ``until_asked_to_stop``.
    """

    @contextmanager
    def held(times: int, *, until_asked_to_stop: bool = False, **event: Any) -> Iterator[None]:
        wanted = {"times": times, "until_asked_to_stop": until_asked_to_stop, "event": event}
        places = [str(ROOT / "tests" / "holding"), *filter(None, [os.environ.get("PYTHONPATH")])]
        with monkeypatch.context() as patch:
            patch.setenv("PYTHONPATH", os.pathsep.join(places))
            patch.setenv("HOLD_WORKERS", json.dumps(wanted))
            yield

    return held


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """`small_disk(size)` gives an empty file system of about so many bytes; the test is skipped where none may be mounted."""
    mounted: list[Path] = []

    def mount(size: int) -> Path:
        place = tmp_path / f"disk-{len(mounted)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)

"""A small Kedro project with the real hook, a real tiny model and a real MLflow database."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Toy:
    """The toy project and how to run it."""

    project: Path
    data_root: Path
    kedro: Callable[..., subprocess.CompletedProcess[str]]

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.data_root}/mlflow.db"

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        return subprocess.check_output(["git", *identity, *arguments], cwd=self.project, text=True).strip()

    @property
    def spool(self) -> Path:
        return self.data_root / "tracking_spool"

    def parameters(self, **parameters: str) -> list[str]:
        given = {"data_root": str(self.data_root), **parameters}
        return ["--params", ",".join(f"{name}={value}" for name, value in given.items())]

    def run(self, *arguments: str, **parameters: str) -> subprocess.CompletedProcess[str]:
        return self.kedro("run", *arguments, *self.parameters(**parameters), cwd=self.project)

    def tracking(self, *arguments: str, **parameters: str) -> subprocess.CompletedProcess[str]:
        return self.kedro("tracking", *arguments, *self.parameters(**parameters), cwd=self.project)

    @property
    def first_session(self) -> str:
        """The whole run that nothing disturbed."""
        return min(path.name for path in (self.data_root / "training_summary.json").iterdir())

    @property
    def newest_session(self) -> str:
        return max(path.name for path in self.data_root.glob("*.*/*"))


@pytest.fixture(scope="session")
def toy(tmp_path_factory, run_kedro) -> Toy:
    """The project after one whole run, committed to git and clean."""
    project = tmp_path_factory.mktemp("toy") / "project"
    shutil.copytree(
        Path(__file__).parent / "toy_project", project, ignore=shutil.ignore_patterns("__pycache__", ".viz")
    )
    shutil.copy(ROOT / "conf" / "logging.yml", project / "conf")
    (project / ".gitignore").write_text("__pycache__/\n.viz/\n")
    toy = Toy(project, tmp_path_factory.mktemp("toy_data"), run_kedro)
    toy.git("init", "--quiet", "--initial-branch", "trunk")
    toy.git("add", "--all")
    toy.git("commit", "--quiet", "--message", "Toy")
    done = toy.run()
    assert done.returncode == 0, done.stdout
    return toy


class Server:
    """A real MLflow server on a port of its own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self._folder}/server.db"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self._folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, stdout=log, stderr=log, start_new_session=True, env=environment
            )
        _wait_for(f"{self.uri}/health", self._process)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, 9)
            self._process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """A server that is not started."""
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture(scope="session")
def contents() -> Callable[..., dict[str, Any]]:
    """`contents(uri, experiment, session=None)`: all that MLflow has of an experiment or a session of it, with names for ids."""

    def read(uri: str, experiment: str, session: str | None = None) -> dict[str, Any]:
        client = MlflowClient(uri)
        experiment_id = client.get_experiment_by_name(experiment).experiment_id
        runs = client.search_runs([experiment_id])
        runs = [run for run in runs if session in (None, run.data.tags.get("kedro.session"))]
        names = {run.info.run_id: run.info.run_name.replace(str(session), "session") for run in runs}
        assert len(set(names.values())) == len(names), f"runs are doubled: {sorted(names.values())}"
        versions = [found for found in client.search_model_versions() if found.run_id in names]
        models = [
            model for model in client.search_logged_models([experiment_id]) if model.source_run_id in names
        ]
        found = {names[run.info.run_id]: _run_contents(client, run, names) for run in runs}
        return {
            **found,
            "versions": [(names[version.run_id], _lasting(version.tags)) for version in versions],
            "models": [
                (names[model.source_run_id], str(model.status), _lasting(model.tags)) for model in models
            ],
        }

    return read


def _run_contents(client: MlflowClient, run: Run, names: dict[str, str]) -> dict[str, Any]:
    run_id = run.info.run_id
    metrics = {
        name: [
            (point.step, repr(point.value), point.timestamp)
            for point in client.get_metric_history(run_id, name)
        ]
        for name in run.data.metrics
    }
    inputs = [
        (entry.dataset.to_dictionary(), sorted((tag.key, tag.value) for tag in entry.tags))
        for entry in run.inputs.dataset_inputs
    ]
    return {
        "status": run.info.status,
        "start": run.info.start_time,
        "end": run.info.end_time,
        "parent": names.get(run.data.tags.get("mlflow.parentRunId")),
        "params": run.data.params,
        "tags": _lasting(run.data.tags),
        "metrics": {name: sorted(points, key=str) for name, points in metrics.items()},
        "inputs": sorted(inputs, key=str),
        "files": dict(_files(client, run_id, "")),
        "models": len(run.outputs.model_outputs),
    }


def _files(client: MlflowClient, run: str, folder: str) -> Iterator[tuple[str, bytes]]:
    for file in client.list_artifacts(run, folder):
        if file.is_dir:
            yield from _files(client, run, file.path)
        else:
            yield file.path, Path(client.download_artifacts(run, file.path)).read_bytes()


def _lasting(tags: dict[str, str]) -> dict[str, str]:
    """Leave out ids, which differ from store to store."""
    return {key: value for key, value in tags.items() if key not in {"tracking_id", "mlflow.parentRunId"}}


def _wait_for(url: str, process: subprocess.Popen, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, "the MLflow server stopped"
        try:
            urllib.request.urlopen(url, timeout=2).close()  # noqa: S310
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise TimeoutError(url)


@pytest.fixture(scope="session")
def ask_registered_model() -> Callable[..., list[str]]:
    """Load a registered model in a fresh process, as if this project were not installed, and answer prompts."""
    script = """
import json, sys, mlflow
sys.path[:] = [place for place in sys.path if not place.endswith("/src")]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
uri, name, tokens, *prompts = sys.argv[1:]
mlflow.set_tracking_uri(uri)
model = mlflow.pyfunc.load_model(f"models:/{name}/1")
answers = model.predict([{"prompt": prompt} for prompt in prompts], params={"max_new_tokens": int(tokens)})
import bdpo_pipeline
assert "/code/bdpo_pipeline/" in bdpo_pipeline.__file__, bdpo_pipeline.__file__
print(json.dumps(answers))
"""

    def ask(uri: str, name: str, *prompts: str, tokens: int, cwd: Path) -> list[str]:
        command = [sys.executable, "-c", script, uri, name, str(tokens), *prompts]
        output = subprocess.check_output(command, cwd=cwd, text=True, stderr=subprocess.STDOUT)
        return json.loads(output.splitlines()[-1])

    return ask

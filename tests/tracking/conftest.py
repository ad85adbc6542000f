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

import pytest

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

    def run(self, *arguments: str, **parameters: str) -> subprocess.CompletedProcess[str]:
        given = {"data_root": str(self.data_root), **parameters}
        text = ",".join(f"{name}={value}" for name, value in given.items())
        return self.kedro("run", *arguments, "--params", text, cwd=self.project)


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


@pytest.fixture
def server(tmp_path) -> Iterator[tuple[str, int]]:
    """A real MLflow server: its address and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    command += ["--artifacts-destination", str(tmp_path / "artifacts")]
    log = (tmp_path / "server.log").open("w")
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True, env=environment
    )
    uri = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{uri}/health", process)
        yield uri, process.pid
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.wait()
        log.close()


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

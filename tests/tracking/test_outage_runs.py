"""Real Kedro runs beside a real MLflow server that is down, dies, or is worse than down; and runs that are killed themselves."""

import json
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

# MLflow keeps one data set of the same name and digest, with the path of the session that had it first.
_SESSION = re.compile(r"20\d\d-\d\d-\d\dT[\d.]+Z")
WAITS = "MLflow did not take everything"
# Differ between two runs of the same pipeline: when, where and how it was asked for.
TIMING = {"training.pause", "training.waits_for"}
VOLATILE_TAGS = {"kedro.session", "command", "process.pid", "registered_model"}


@pytest.fixture(scope="module")
def undisturbed(toy, contents) -> dict[str, Any]:
    """What MLflow has of the whole run that nothing disturbed."""
    session = toy.first_session
    return comparable(contents(toy.tracking_uri, "toy", session), session)


def comparable(found: dict[str, Any], session: str) -> dict[str, Any]:
    """Leave out times, and what of tags and files says in which session or with which options a run was made."""
    text = {}
    for name, run in found.items():
        if name in ("versions", "models"):
            text[name] = [entry[0] for entry in run]
            continue
        params = {key: value for key, value in run["params"].items() if key not in TIMING}
        text[name] = {
            "status": run["status"],
            "parent": run["parent"],
            "params": params,
            "tags": {
                key: value
                for key, value in run["tags"].items()
                if key not in VOLATILE_TAGS | {"mlflow.runName"}
            },
            "metrics": {key: [point[:2] for point in points] for key, points in run["metrics"].items()},
            "inputs": [_SESSION.sub("session", json.dumps(entry)) for entry in run["inputs"]],
            "files": {
                key: _plain(value.decode(), session)
                for key, value in run["files"].items()
                if key != "run_params.json"
            },
            "models": run["models"],
        }
    return text


def _plain(text: str, session: str) -> str:
    # PEFT writes the names of the adapted layers in any order, so the hash of an adapter differs from run to run.
    return re.sub(r'"sha256": "\w+"', "", text.replace(session, "session"))


@pytest.fixture(autouse=True)
def _nothing_of_other_tests(toy) -> Iterator[None]:
    yield
    shutil.rmtree(toy.spool)
    toy.spool.mkdir()


class Proxy:
    """Stands before a server and, as told, passes everything on, answers late, answers 500, or hangs up in mid-answer."""

    def __init__(self, port: int) -> None:
        self.mode = "pass"
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # Else its thread goes on to accept, at the number of a socket that may by then be another's.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client, self.mode), daemon=True).start()

    def _serve(self, client: socket.socket, mode: str) -> None:
        with client:
            try:
                if mode == "errors":
                    client.recv(1 << 20)
                    client.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\nConnection: close\r\n\r\nOops")
                    return
                with socket.create_connection(("127.0.0.1", self._to)) as server:
                    threading.Thread(target=_pump, args=(client, server), daemon=True).start()
                    while part := server.recv(1 << 16):
                        if mode == "slow":
                            time.sleep(3)
                        if mode == "half":
                            client.sendall(part[: len(part) // 2])
                            return
                        client.sendall(part)
            except OSError:
                return


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while part := source.recv(1 << 16):
            target.sendall(part)
    except OSError:
        return


@pytest.fixture
def proxy(server) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


def start(toy, *arguments: str, **parameters: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "kedro", "run", *arguments, *toy.parameters(**parameters)]
    return subprocess.Popen(
        command,
        cwd=toy.project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_until(condition, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def points(uri: str, experiment: str = "toy") -> dict[str, list[int]]:
    """Steps of the training curve by session."""
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id], "attributes.run_name = 'training'") if found else []
    return {
        run.data.tags["kedro.session"]: [
            point.step for point in client.get_metric_history(run.info.run_id, "train/loss")
        ]
        for run in runs
    }


def test_a_server_that_dies_half_way_or_was_never_there_costs_nothing_but_time_later(
    toy, server, undisturbed, contents, tmp_path
) -> None:
    server.start()
    dead = tmp_path / "server-is-dead"
    dying = start(toy, tracking_uri=server.uri, **{"training.waits_for": str(dead)})
    wait_until(lambda: any(points(server.uri).values()))
    server.kill()
    dead.touch()
    output, _ = dying.communicate()
    assert dying.returncode == 0, output
    assert output.count(WAITS) == 1
    command = re.search(r"to do it now: (kedro tracking upload --params .+)", output.replace("\n", " "))
    assert command, output
    first = toy.newest_session

    down = toy.run(tracking_uri=server.uri)
    assert down.returncode == 0, down.stdout
    assert down.stdout.count(WAITS) == 1
    second = toy.newest_session
    assert [path.name for path in sorted(toy.spool.iterdir())] == [first, second]
    refused = toy.tracking("upload", tracking_uri=server.uri)
    assert refused.returncode == 1
    assert "takes nothing at the moment" in refused.stdout
    status = toy.tracking("status", tracking_uri=server.uri).stdout
    assert re.search(
        rf"{first}: \d+ records waiting, 0 refused\n{second}: \d+ records waiting, 0 refused\n", status
    )

    server.start()
    assert len(next(steps for session, steps in points(server.uri).items() if session == first)) < 1200
    sent = toy.tracking("upload", tracking_uri=server.uri)
    assert sent.returncode == 0, sent.stdout
    assert list(toy.spool.iterdir()) == []
    for session in (first, second):
        found = comparable(contents(server.uri, "toy", session), session)
        for name, run in undisturbed.items():
            assert found.pop(name) == run, name
        assert found == {}
    assert {run.data.tags["kedro.session"] for run in all_runs(server.uri)} == {first, second}


def all_runs(uri: str) -> list[Any]:
    client = MlflowClient(uri)
    return client.search_runs([client.get_experiment_by_name("toy").experiment_id])


@pytest.mark.parametrize("mode", ["slow", "errors", "half"])
def test_a_server_that_is_worse_than_down_slows_nothing(
    toy, server, proxy, undisturbed, contents, mode: str
) -> None:
    server.start()
    proxy.mode = mode
    done = toy.run("--pipelines", "evaluation", tracking_uri=proxy.uri)
    ended = time.time()
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(WAITS) == 1
    [folder] = toy.spool.iterdir()
    *_, last = (json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines())
    # Seconds on a busy machine; a request to the slow server takes three, and about thirty of them wait.
    assert ended - last["at"] / 1000 < 25
    proxy.mode = "pass"
    done = toy.tracking("upload", tracking_uri=proxy.uri)
    assert f"{folder.name}: everything was sent" in done.stdout, done.stdout
    found = contents(server.uri, "toy", folder.name)["evaluation"]
    for kind in ("status", "metrics", "inputs", "parent"):
        assert (
            comparable({"evaluation": found}, folder.name)["evaluation"][kind]
            == undisturbed["evaluation"][kind]
        )
    assert list(toy.spool.iterdir()) == []


def new_sessions(toy, before: set[Path]) -> set[Path]:
    return set(toy.spool.iterdir()) - before


def test_runs_that_are_killed_at_any_moment_lose_nothing_written_and_are_not_left_running(
    toy, contents, tmp_path
) -> None:
    chance = random.Random(5)
    killed: dict[str, int] = {}
    given = {"training.pause": "0.01", "training.waits_for": str(tmp_path / "never")}
    for kill_both in (False, True, True):
        before = set(toy.spool.iterdir())
        process = start(toy, "--pipelines", "training", **given)
        wait_until(
            lambda before=before: any((path / "files" / "2").exists() for path in new_sessions(toy, before))
        )
        time.sleep(chance.uniform(0, 6))
        [folder] = new_sessions(toy, before)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        for child in children if kill_both else ():
            child.kill()
        psutil.wait_procs(children, timeout=60)
        process.communicate()
        written = (folder / "journal.jsonl").read_text() if folder.exists() else None
        if written is not None:
            with (folder / "journal.jsonl").open("a") as file:
                file.write('{"do": "metrics", "run"')
            killed[folder.name] = written.count('"train/loss"')
        else:
            killed[folder.name] = -1
    assert killed.keys() - {path.name for path in toy.spool.iterdir()} != killed.keys(), (
        "one is to be left to the next run"
    )
    done = toy.run("--pipelines", "evaluation")
    assert "Tracked in MLflow" in done.stdout, done.stdout
    assert list(toy.spool.iterdir()) == []
    curves = points(toy.tracking_uri)
    for session, steps in killed.items():
        found = contents(toy.tracking_uri, "toy", session)
        assert {run["status"] for name, run in found.items() if name not in ("versions", "models")} == {
            "KILLED"
        }
        curve = sorted(curves.get(session, []))
        assert curve == list(range(1, len(curve) + 1))
        assert steps in (-1, len(curve))
    assert len(killed) == 3
    assert not [run for run in all_runs(toy.tracking_uri) if run.info.status == "RUNNING"]

"""What an outage of MLflow adds to a run: `kedro run --env test` without tracking, with a healthy store, and with stores that fail.

Rounds are interleaved, so that a busy minute hits all cases alike. Prints a table of medians; added time is against the same
healthy kind of store.

    python benchmarks/tracking/outages.py --rounds 5
"""

import argparse
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CASES = ("off", "sqlite", "server", "server down", "server killed", "server slow")
DELAY_SECONDS = 3.0
KILL_AFTER_SECONDS = 10.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_server(folder: Path, port: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
        except OSError:
            time.sleep(0.3)
        else:
            return process


def delay_answers(port: int) -> int:
    """Serve, on the port that is returned, what another port serves, each answer some seconds late."""
    listening = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket, seconds: float) -> None:
        try:
            while part := source.recv(1 << 16):
                time.sleep(seconds)
                target.sendall(part)
        except OSError:
            pass

    def accept() -> None:
        while True:
            client, _ = listening.accept()
            server = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=pump, args=(client, server, 0), daemon=True).start()
            threading.Thread(target=pump, args=(server, client, DELAY_SECONDS), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listening.getsockname()[1]


def configure(folder: Path, case: str, uri: str) -> Path:
    conf = folder / "conf" / case.replace(" ", "_")
    shutil.copytree(ROOT / "conf", conf, dirs_exist_ok=True)
    changed = {"off": "enabled: false", "sqlite": "enabled: true"}.get(case, f"tracking_uri: {uri}")
    (conf / "test" / "tracking.yml").write_text(f"tracking:\n  {changed}\n")
    return conf


def run(conf: Path, data_root: Path) -> tuple[float, float]:
    """Return seconds and CPU seconds of one run."""
    command = [sys.executable, "-m", "kedro", "run", "--env", "test", "--conf-source", str(conf)]
    before, start = cpu_seconds(), time.monotonic()
    done = subprocess.run(
        [*command, "--params", f"data_root={data_root}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - start
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return seconds, cpu_seconds() - before


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    taken: dict[str, list[tuple[float, float]]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory() as scratch:
        folder, port = Path(scratch), free_port()
        slow_port = delay_answers(port)
        for number in range(rounds):
            for case in CASES:
                server = (
                    start_server(folder, port) if case in ("server", "server killed", "server slow") else None
                )
                uri = f"http://127.0.0.1:{slow_port if case == 'server slow' else port}"
                if server is not None and case == "server killed":
                    threading.Timer(KILL_AFTER_SECONDS, os.killpg, (server.pid, signal.SIGKILL)).start()
                conf = configure(folder, case, uri)
                taken[case].append(run(conf, folder / "data" / f"{case} {number}".replace(" ", "_")))
                if server is not None:
                    if server.poll() is None:
                        os.killpg(server.pid, signal.SIGKILL)
                    server.wait()
    print("| MLflow | seconds (all) | median | against healthy | CPU s, median |\n|---|---|---|---|---|")
    for case, measured in taken.items():
        seconds = [one[0] for one in measured]
        median = statistics.median(seconds)
        healthy = statistics.median(
            one[0] for one in taken["server" if case.startswith("server") else "sqlite"]
        )
        all_seconds = ", ".join(f"{value:.1f}" for value in seconds)
        cpu = statistics.median(one[1] for one in measured)
        print(
            f"| {case} | {all_seconds} | {median:.1f} | {median - healthy:+.1f} s ({median / healthy - 1:+.1%}) | {cpu:.1f} |"
        )


if __name__ == "__main__":
    main()

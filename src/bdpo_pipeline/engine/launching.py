"""Starting a job's processes on a machine, and ending them with everything that they started."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bdpo_pipeline.durable import write_whole
from bdpo_pipeline.engine.jobs import Compute

logger = logging.getLogger(__name__)
# Stands in a job's folder while the job runs, with a mark of this run of it.
ATTEMPT = "attempt"
BEAT_SECONDS = 2.0
_GRACE_SECONDS = 10.0
_PLAIN = "MULTI_GPU"


class LaunchConfigError(ValueError):
    """The file of Accelerate's does not start what was asked for."""


@contextlib.contextmanager
def started(compute: Compute, folder: Path, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the processes of the job in ``folder`` in a session of their own; whatever ends this block ends all that runs in it.

    Raises:
        LaunchConfigError: ``compute.accelerate_config`` names a file that starts something else.
    """
    command = _launch_command(compute, folder)
    # Waiting threads sleep: on busy cores, threads that spin at every barrier made a training step six to nine times slower.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"} | os.environ
    if compute.accelerate_config is None:
        # Else Accelerate gives each of several processes one.
        threads = max(1, (os.cpu_count() or 1) // compute.processes)
        environment = {"OMP_NUM_THREADS": str(threads)} | environment
    if compute.device == "cpu":
        # Several processes on a CPU are started as for GPUs; this tells them that they are not.
        environment["ACCELERATE_USE_CPU"] = "true"
    guard = [sys.executable, "-m", "bdpo_pipeline.engine.supervised", str(os.getpid())]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*guard, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_group(process)


@contextlib.contextmanager
def announced(folder: Path) -> Iterator[None]:
    """Let other machines see the job in ``folder``: the file tells this run from others, and its time goes on while the run lives."""
    path, over = folder / ATTEMPT, threading.Event()
    write_whole(path, uuid.uuid4().hex)

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            try:
                path.touch()
            except OSError as error:  # as a shared file system may have for a moment
                logger.warning("The sign of life of %s could not be given: %s", folder, error)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        path.unlink(missing_ok=True)


def _launch_command(compute: Compute, folder: Path) -> list[str]:
    worker = ["-m", "bdpo_pipeline.engine.worker", str(folder)]
    launch = [sys.executable, "-m", "accelerate.commands.launch"]
    if compute.accelerate_config is not None:
        _check_config(Path(compute.accelerate_config), compute)
        return [*launch, "--config_file", compute.accelerate_config, *worker]
    if compute.processes == 1:
        return [sys.executable, *worker]
    # --multi_gpu also on a CPU: `--cpu --num_processes 2` silently runs one process.
    number = ["--num_processes", str(compute.processes)]
    return [*launch, "--multi_gpu", *number, "--main_process_port", "0", *worker]


def _check_config(path: Path, compute: Compute) -> None:
    import yaml

    name = f"compute.accelerate_config = {str(path)!r}"
    if not path.is_file():
        raise LaunchConfigError(
            f"{name}: there is no such file; `accelerate config --config_file <path>` writes one"
        )
    config = yaml.safe_load(path.read_text())
    found: dict[str, Any] = config if isinstance(config, dict) else {}
    if found.get("distributed_type") != _PLAIN:
        raise LaunchConfigError(
            f"{name}: distributed_type is {found.get('distributed_type')!r} and must be {_PLAIN}, on CPUs, too: the engine spreads "
            "weights itself, by compute.sharding"
        )
    if found.get("num_processes") != compute.processes:
        raise LaunchConfigError(
            f"{name}: num_processes is {found.get('num_processes')} and compute.processes is {compute.processes}; both mean the "
            "processes on all machines"
        )


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """End a process that was started, and all that it started, by SIGTERM and, where that is not heard, by SIGKILL."""
    for number, patience in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, None)):
        if process.poll() is not None and number is signal.SIGTERM:
            continue
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)

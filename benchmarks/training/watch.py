"""A child process that is ended before it takes the machine's memory."""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

_POLL_SECONDS = 0.1
# Below this much free memory the machine itself is in danger, whoever uses it.
_RESERVE_BYTES = 1 << 30
# What torch says on a GPU and on a CPU.
_ALLOCATION_FAILED = ("OutOfMemoryError", "can't allocate memory")


class OutOfMemoryError(RuntimeError):
    """The child needed more memory than it may have."""


def run_watched(command: Sequence[str], *, threads: int, limit_bytes: int) -> None:
    """Run a command to its end.

    Args:
        command: what to run.
        threads: of OpenMP.
        limit_bytes: of resident memory, of the child with all its own children.

    Raises:
        OutOfMemoryError: it went over the limit and was killed, or an allocation failed.
        RuntimeError: it failed otherwise; the message ends with what it said.
    """
    # Sleeping instead of spinning threads, for everyone: on shared cores anything else measures the neighbours.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as file:
            child = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
        try:
            _wait(child, limit_bytes)
        finally:
            _end(child.pid)
            child.wait()
        said = log.read_text(errors="replace")
    if child.returncode == -9 or any(words in said for words in _ALLOCATION_FAILED):
        raise OutOfMemoryError("an allocation failed")
    if child.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}:\n{said[-4000:]}")


def _wait(child: "subprocess.Popen[bytes]", limit_bytes: int) -> None:
    while True:
        with suppress(subprocess.TimeoutExpired):
            child.wait(_POLL_SECONDS)
            return
        used, free = _resident_bytes(child.pid), psutil.virtual_memory().available
        if used > limit_bytes or free < _RESERVE_BYTES:
            raise OutOfMemoryError(f"killed at {used / 1e9:.1f} GB")


def _tree(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [*process.children(recursive=True), process]
    return []


def _resident_bytes(pid: int) -> int:
    total = 0
    for process in _tree(pid):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


def _end(pid: int) -> None:
    for process in _tree(pid):
        with suppress(psutil.NoSuchProcess):
            process.kill()

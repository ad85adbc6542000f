"""The one way to run a job: worker processes started, followed by their events, and ended with everything they started."""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdpo_pipeline.engine.events import Event, publish
from bdpo_pipeline.engine.jobs import Compute, Job, TrainJob, to_dict

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)
# Where a driver shows its GPUs; asking torch would import it into the caller.
_GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/kfd"))
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 10.0
_PROGRESS_LOG_SECONDS = 15.0


class WorkerError(RuntimeError):
    """A worker failed; the message carries its own error."""


def run_job(
    job: Job,
    scratch: Path,
    *,
    ragged: Mapping[str, Sequence[Sequence[int]]],
    flat: "Mapping[str, NDArray[Any]] | None" = None,
    on_event: Callable[[Event], None] = publish,
) -> tuple[dict[str, Any], Path]:
    """Run a job in worker processes and wait for it.

    The job's folder below ``scratch`` is named by the digest of the job and its data: the same job run again finds its checkpoints
    there, another job does not.

    Args:
        job: what to do.
        scratch: folder for the files of jobs.
        ragged: the job's token ids, by name.
        flat: the job's plain arrays, by name.
        on_event: called with every event of the worker, in order for each process.

    Returns:
        The worker's result, and the job's folder with the files that it wrote. Only the folder of a training job stays.

    Raises:
        WorkerError: a worker failed or vanished.
    """
    from bdpo_pipeline.engine.tokens import save_tokens

    scratch.mkdir(parents=True, exist_ok=True)
    partial = scratch / f".tokens-{os.getpid()}-{time.monotonic_ns()}"
    try:
        save_tokens(partial, ragged, flat or {})
        text = json.dumps(to_dict(job), sort_keys=True, indent=1)
        digest = hashlib.sha256(text.encode() + partial.read_bytes()).hexdigest()[:16]
        folder = scratch / f"{job.task}-{digest}"
        with _alone(folder):
            _prepare_folder(folder, text, partial)
            return _run(job, folder, on_event), folder
    finally:
        partial.unlink(missing_ok=True)


def _run(job: Job, folder: Path, on_event: Callable[[Event], None]) -> dict[str, Any]:
    started = time.monotonic()
    with _started(job.compute, folder) as process:
        error = _follow(process, folder, on_event)
    if process.returncode != 0 or not (folder / "result.json").exists():
        raise WorkerError(_describe_failure(job, process.returncode, error, folder))
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    logger.info("%s done in %.1f s", job.task.capitalize(), time.monotonic() - started)
    if not isinstance(job, TrainJob):
        shutil.rmtree(folder)
    return result


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other run does this very job; the lock goes with the process that holds it, however that ends."""
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("Another run is doing the same job in %s; waiting for it", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a job that is done."""
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def _prepare_folder(folder: Path, job: str, tokens: Path) -> None:
    if (folder / "result.json").exists():
        # The job was done before and is asked for again: done afresh, it shows the same or that something is not determined.
        shutil.rmtree(folder)
    folder.mkdir(exist_ok=True)
    for stale in [*folder.glob("events-*.jsonl"), folder / "worker.log"]:
        stale.unlink(missing_ok=True)
    for torn in folder.glob(".checkpoint-*"):
        shutil.rmtree(torn)
    tokens.replace(folder / "tokens.safetensors")
    (folder / "job.json").write_text(job)


def _command(compute: Compute, folder: Path) -> list[str]:
    worker = ["-m", "bdpo_pipeline.engine.worker", str(folder)]
    if compute.processes == 1:
        return [sys.executable, *worker]
    # --multi_gpu also on a CPU: `--cpu --num_processes 2` silently runs one process.
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(compute.processes)]
    return [sys.executable, *launch, "--main_process_port", "0", *worker]


@contextlib.contextmanager
def _started(compute: Compute, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the worker in a session of its own; whatever ends this block ends all that runs in it."""
    # Waiting threads sleep: on busy cores, threads that spin at every barrier made a training step six to nine times slower.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"} | os.environ
    if compute.device == "cpu" or (compute.device == "auto" and not any(map(Path.exists, _GPU_DEVICES))):
        # Several processes on a CPU are started as for GPUs; this tells them that they are not.
        environment["ACCELERATE_USE_CPU"] = "true"
    guard = [sys.executable, "-m", "bdpo_pipeline.engine.supervised", str(os.getpid())]
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [*guard, *_command(compute, folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end_group(process)


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    for number, patience in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, None)):
        if process.poll() is not None and number is signal.SIGTERM:
            continue
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def _follow(
    process: "subprocess.Popen[bytes]", folder: Path, on_event: Callable[[Event], None]
) -> Event | None:
    """Hand over events until the process ends; return the first error event, if any."""
    places: dict[Path, int] = {}
    error: Event | None = None
    logged = time.monotonic()
    running = True
    while running:
        running = process.poll() is None
        for event in _new_events(folder, places):
            if event["event"] == "error":
                error = error or event
            elif event["event"] == "progress":
                done = event["done"] >= event["total"]
                if done or time.monotonic() - logged >= _PROGRESS_LOG_SECONDS:
                    logged = time.monotonic()
                    logger.info(_describe_progress(event))
            on_event(event)
        if running:
            time.sleep(_POLL_SECONDS)
    return error


def _new_events(folder: Path, places: dict[Path, int]) -> Iterator[Event]:
    for path in sorted(folder.glob("events-*.jsonl")):
        with path.open("rb") as file:
            file.seek(places.get(path, 0))
            for line in file:
                # The worker may be in the middle of a line; it is read whole next time.
                if not line.endswith(b"\n"):
                    break
                places[path] = places.get(path, 0) + len(line)
                yield json.loads(line)


def _describe_progress(event: Event) -> str:
    done, total, seconds = event["done"], event["total"], event["seconds"]
    rate = done / seconds if seconds else 0.0
    left = (total - done) / rate if rate else float("nan")
    return f"{event['task']}: {done} of {total}, {rate:.2f}/s, {left:.0f} s left"


def _describe_failure(job: Job, code: int | None, error: Event | None, folder: Path) -> str:
    if error is not None:
        return f"the {job.task} worker failed: {error['error']}\n(all it said: {folder / 'worker.log'})"
    how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
    hint = (
        " (the machine may be out of memory: lower compute.tokens_per_batch)"
        if code == -signal.SIGKILL
        else ""
    )
    tail = (folder / "worker.log").read_text(errors="replace")[-2000:]
    return f"the {job.task} worker {how}{hint} without an error of its own. The end of {folder / 'worker.log'}:\n{tail}"

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
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdpo_pipeline.engine.events import Event, publish
from bdpo_pipeline.engine.jobs import Job, TrainJob, to_dict
from bdpo_pipeline.engine.launching import announced, started

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)
_POLL_SECONDS = 0.1
# Files that another machine has written may show late on a shared file system.
_LATE_SECONDS = 120.0
# After an error, for what the others have to say.
_GRACE_SECONDS = 30.0
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
    start = time.monotonic()
    with started(job.compute, folder, folder / "worker.log") as process, announced(folder):
        error = _follow(process, folder, job.compute.processes, on_event)
    if process.returncode != 0 or not (folder / "result.json").exists():
        raise WorkerError(_describe_failure(job, process.returncode, error, folder))
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    logger.info("%s done in %.1f s", job.task.capitalize(), time.monotonic() - start)
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


def _follow(
    process: "subprocess.Popen[bytes]", folder: Path, processes: int, on_event: Callable[[Event], None]
) -> Event | None:
    """Hand over events until the process ends and all its workers' events are here; return the first error event, if any.

    Raises:
        WorkerError: the job is done and the events of a worker did not arrive.
    """
    places: dict[Path, int] = {}
    error: Event | None = None
    logged = time.monotonic()
    ended: float | None = None
    failed: float | None = None
    complete = 0
    while ended is None or (process.returncode == 0 and complete < processes):
        if ended is None and process.poll() is not None:
            ended = time.monotonic()
        for event in _new_events(folder, places):
            if event["event"] == "end":
                complete += 1
                continue
            if event["event"] == "error":
                error, failed = error or event, failed or time.monotonic()
            elif event["event"] == "progress":
                done = event["done"] >= event["total"]
                if done or time.monotonic() - logged >= _PROGRESS_LOG_SECONDS:
                    logged = time.monotonic()
                    logger.info(_describe_progress(event))
            elif event["event"] == "layout":
                logger.info("At most %d places in a pass: %s", event["tokens_per_batch"], event["reason"])
            on_event(event)
        if ended is not None and time.monotonic() - ended > _LATE_SECONDS:
            raise WorkerError(
                f"the job is done and the events of {processes - complete} of its {processes} processes did not arrive in {folder}: "
                "with several machines, compute.scratch must lie on a file system that they share"
            )
        if failed is not None and time.monotonic() - failed > _GRACE_SECONDS:
            return error  # the others, on this machine or another, may wait for the failed one for long
        if ended is None or complete < processes:
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
    hint = " (the machine may be out of memory: lower compute.memory_gb)" if code == -signal.SIGKILL else ""
    tail = (folder / "worker.log").read_text(errors="replace")[-2000:]
    return f"the {job.task} worker {how}{hint} without an error of its own. The end of {folder / 'worker.log'}:\n{tail}"

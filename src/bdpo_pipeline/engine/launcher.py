"""The one way to run a job: worker processes started, followed by their events, and ended with everything they started."""

import logging
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdpo_pipeline.disk_space import free_bytes
from bdpo_pipeline.engine.changed import warn_of_unfinished
from bdpo_pipeline.engine.checkpoint_files import list_checkpoints
from bdpo_pipeline.engine.events import Event, publish
from bdpo_pipeline.engine.following import Following
from bdpo_pipeline.engine.job_folder import (
    STOP,
    Order,
    finished_result,
    prepare,
    read_result,
    remove_left_over,
)
from bdpo_pipeline.engine.jobs import Job, ScoreJob, TrainJob
from bdpo_pipeline.engine.kept import Item, items_of, read_kept
from bdpo_pipeline.engine.launching import announced, end_group, started
from bdpo_pipeline.engine.taken import Taken
from bdpo_pipeline.locks import alone

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)
_POLL_SECONDS = 0.1
# Files that another machine has written may show late on a shared file system.
_LATE_SECONDS = 120.0
# After an error, for what the others have to say.
_GRACE_SECONDS = 30.0
# After an interrupt: for the step in hand, and then for its checkpoint.
_STOP_SECONDS = 60.0
_WRITE_SECONDS = 600.0
_FULL_BYTES = 1_000_000


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

    The job's folder below ``scratch`` is named by the digest of the job, its data, and the code and packages that do it. The same
    training run again goes on from its newest whole checkpoint there, a pass after the results that it had; a job that is done is taken
    over as it is. Another training starts from nothing, and a warning says what is different. An interrupt lets a training finish the
    step in hand and write a checkpoint; a second one ends it at once.

    Args:
        job: what to do.
        scratch: folder for the files of jobs.
        ragged: the job's token ids, by name.
        flat: the job's plain arrays, by name.
        on_event: called with every event of the worker, in order for each process, and first with the results of runs that were cut
            off; with ``ran`` when the job is done, on what and how; and with ``finished``, whose ``taken`` is a
            :class:`~bdpo_pipeline.engine.taken.Taken`.

    Returns:
        The worker's result, and the job's folder with the files that it wrote. That stays until what is ``taken`` removes it; that of a
        pass which keeps nothing is gone.

    Raises:
        WorkerError: a worker failed or vanished.
        AlteredJobError: the job's folder holds something else than its name says.
        NoSpaceError: there is no room for the job's files.
    """
    from bdpo_pipeline.engine.tokens import pack_tokens

    scratch.mkdir(parents=True, exist_ok=True)
    remove_left_over(scratch)
    order = Order.of(job, pack_tokens(ragged, flat or {}))
    folder = scratch / order.folder_name
    with alone(folder):
        done = finished_result(folder) if _is_kept(job) else None
        if done is not None:
            logger.info("This %s job was done before; its result in %s is taken", job.task, folder)
            Following(folder, on_event).hand_over()
        result = _run(job, order, folder, on_event) if done is None else done
        on_event(_ran(job, result))
        if not _is_kept(job):
            shutil.rmtree(folder)
            return result, folder
        on_event({"event": "finished", "taken": Taken(folder)})
    return result, folder


def _is_kept(job: Job) -> bool:
    """Return whether what the job has done stays in its folder until the caller is done with it."""
    return not isinstance(job, ScoreJob) or job.resumable


def _ran(job: Job, result: dict[str, Any]) -> Event:
    """Return on what a job ran and how it computed, as far as its numbers may depend on it."""
    facts = {
        name: result.get(name) for name in ("device", "processes", "threads", "tokens_per_batch", "attention")
    }
    return {"event": "ran", "task": job.task, "precision": job.compute.precision, **facts}


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a job that is done, as each run that has taken its result does."""
    with alone(folder):
        for checkpoint in list_checkpoints(folder):
            shutil.rmtree(checkpoint)


def _run(job: Job, order: Order, folder: Path, on_event: Callable[[Event], None]) -> dict[str, Any]:
    prepare(folder, order)
    if isinstance(job, TrainJob) and not list_checkpoints(folder):
        warn_of_unfinished(folder, order)
    known = len(items_of(read_kept(folder)))
    if known:
        logger.info("%s goes on after the %d results that it had", job.task.capitalize(), known)
    start = time.monotonic()
    arrived: set[Item] = set()

    def count(event: Event) -> None:
        arrived.update(items_of([event]))
        on_event(event)

    following = Following(folder, count)
    with started(job.compute, folder, folder / "worker.log") as process, announced(folder):
        try:
            _wait(process, following, job.compute.processes)
        except (KeyboardInterrupt, SystemExit):
            _stop(job, process, following)
            raise
    if process.returncode != 0 or not (folder / "result.json").exists():
        raise WorkerError(_describe_failure(job, process.returncode, following.error, folder))
    logger.info("%s done in %.1f s", job.task.capitalize(), time.monotonic() - start)
    result = read_result(folder)
    if len(arrived) < result.get("results", 0):
        raise WorkerError(
            f"the {job.task} worker is done and {result['results'] - len(arrived)} of its {result['results']} results did not arrive: "
            f"remove {folder} and run the same again"
        )
    return result


def _wait(process: "subprocess.Popen[bytes]", following: Following, processes: int) -> None:
    """Follow a job until it ends and all that its processes report is here, or has failed.

    Raises:
        WorkerError: the job is done and the events of a worker did not arrive.
    """
    ended: float | None = None
    while ended is None or (process.returncode == 0 and following.ended < processes):
        if ended is None and process.poll() is not None:
            ended = time.monotonic()
        following.hand_over()
        if ended is not None and time.monotonic() - ended > _LATE_SECONDS:
            raise WorkerError(
                f"the job is done and the events of {processes - following.ended} of its {processes} processes did not arrive in "
                f"{following.folder}: with several machines, compute.scratch must lie on a file system that they share"
            )
        if following.failed is not None and time.monotonic() - following.failed > _GRACE_SECONDS:
            return  # the others, on this machine or another, may wait for the failed one for long
        if ended is None or following.ended < processes:
            time.sleep(_POLL_SECONDS)


def _stop(job: Job, process: "subprocess.Popen[bytes]", following: Following) -> None:
    """End an interrupted job with as little lost as can be, and hand over what it has still reported."""
    if isinstance(job, TrainJob):
        logger.warning(
            "Interrupted: training finishes the step in hand and writes a checkpoint, which may take up to %.0f s. Interrupt again to "
            "end it at once.",
            _STOP_SECONDS,
        )
        (following.folder / STOP).touch()
        start = time.monotonic()
        while process.poll() is None:
            following.hand_over()
            patience = _STOP_SECONDS + (_WRITE_SECONDS if following.stopping else 0.0)
            if time.monotonic() - start > patience:
                logger.warning("It did not stop within %.0f s and is ended without a checkpoint", patience)
                break
            time.sleep(_POLL_SECONDS)
    end_group(process)
    following.hand_over()
    if following.error is not None:
        logger.error("%s", _describe_failure(job, process.returncode, following.error, following.folder))


def _describe_failure(job: Job, code: int | None, error: Event | None, folder: Path) -> str:
    log = folder / "worker.log"
    room = free_bytes(folder)
    full = (
        f" ({room:,} bytes are free in {folder}: make room and run the same again)"
        if room < _FULL_BYTES
        else ""
    )
    if error is not None:
        return f"the {job.task} worker failed: {error['error']}{full}\n(all it said: {log})"
    how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
    hint = " (the machine may be out of memory: lower compute.memory_gb)" if code == -signal.SIGKILL else ""
    tail = log.read_text(errors="replace")[-2000:]
    return f"the {job.task} worker {how}{hint}{full} without an error of its own. The end of {log}:\n{tail}"

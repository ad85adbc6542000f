"""From a session's journal to MLflow, entry by entry, as often as it takes.

An entry is done when the place behind it is written down. Whatever happens before, it is sent again, which changes nothing.
"""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from bdpo_pipeline.tracking.journal import WRITER_LOCK, kill_open_runs, read_head, read_lines
from bdpo_pipeline.tracking.life import may_be_alive
from bdpo_pipeline.tracking.locks import lock
from bdpo_pipeline.tracking.outages import StoreOutageError
from bdpo_pipeline.tracking.progress import Progress, load_progress, read_refused, replace_refused
from bdpo_pipeline.tracking.run_store import open_store
from bdpo_pipeline.tracking.sender import BlockedSessionError, Sender, Watch
from bdpo_pipeline.tracking.settings import TrackingSettings

UPLOAD_LOCK = "upload.lock"


def unwatched(kind: str, entries: int) -> AbstractContextManager[None]:  # noqa: ARG001 - a Watch
    """Tell nobody."""
    return nullcontext()


@dataclass(frozen=True)
class Outcome:
    """What became of a session.

    Attributes:
        waiting: entries that have not been sent.
        refused: entries that the store will not take.
        reason: why entries wait.
        outage: whether other sessions would fare no better.
        open_runs: runs that have not been ended.
    """

    waiting: int = 0
    refused: int = 0
    reason: str | None = None
    outage: bool = False
    open_runs: int = 0


def send_session(
    folder: Path,
    settings: TrackingSettings,
    watch: Watch = unwatched,
    moved: bool = False,
    refused_again: bool = False,
) -> Outcome:
    """Send what waits of a session, and remove its folder once nothing is left to do.

    Args:
        folder: of the session.
        settings: the store; experiment and model are those that the session was configured for.
        watch: see `Watch`.
        moved: send also what was recorded for a store of another address.
        refused_again: try once more what the store refused.
    """
    with lock(folder / UPLOAD_LOCK) as held:
        if not held:
            waiting = count_waiting(folder)
            return Outcome(waiting, reason="another process is sending it") if waiting else Outcome()
        head = read_head(folder)
        if head is None:
            _remove_if_dead(folder, None)
            return Outcome()
        progress = load_progress(folder) or Progress(head["store"])
        if progress.store != settings.public_uri:
            if not moved:
                return _outcome(
                    folder, f"it was recorded for {progress.store}, not for {settings.public_uri}"
                )
            progress = Progress(settings.public_uri)
            replace_refused(folder, [])
        with _dead(folder, head["host"]) as dead:
            if dead:
                kill_open_runs(folder)
        configured = {name: head[name] for name in ("experiment", "registered_model")}
        sender = Sender(folder, open_store(settings.model_copy(update=configured)), progress, head, watch)
        try:
            if refused_again:
                sender.send_refused()
            sender.send_waiting()
        except (StoreOutageError, BlockedSessionError) as error:
            return _outcome(folder, str(error), outage=isinstance(error, StoreOutageError))
        outcome = _outcome(folder, None)
        if not outcome.refused and not outcome.open_runs:
            _remove_if_dead(folder, head["host"])
        return outcome


def remove_sent(folder: Path) -> None:
    """Remove the folder of a session of which nothing waits, unless another process is at it, which will.

    For the process that writes it; `send_session` removes those of the dead.
    """
    with lock(folder / UPLOAD_LOCK) as held:
        if held:
            _remove(folder)


def count_waiting(folder: Path) -> int:
    """Return how many entries of a session have not been sent."""
    progress = load_progress(folder)
    try:
        return sum(1 for _ in read_lines(folder, progress.offset if progress else 0))
    except FileNotFoundError:
        return 0


def _remove_if_dead(folder: Path, host: str | None) -> None:
    with _dead(folder, host) as dead:
        if dead:
            _remove(folder)


@contextmanager
def _dead(folder: Path, host: str | None) -> Iterator[bool]:
    with lock(folder / WRITER_LOCK) as free:
        yield free and not may_be_alive(folder, host)


def _remove(folder: Path) -> None:
    # Whoever opens a lock in it meanwhile leaves a file behind; it is removed as a session that wrote nothing.
    shutil.rmtree(folder, ignore_errors=True)


def _outcome(folder: Path, reason: str | None, outage: bool = False) -> Outcome:
    progress = load_progress(folder)
    open_runs = len(progress.open_runs) if progress else 0
    return Outcome(count_waiting(folder), len(read_refused(folder)), reason, outage, open_runs)

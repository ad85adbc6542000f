"""Sends the entries of one session to the store, and tells those that it will never take from those that have to wait."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bdpo_pipeline.lineage.parameter_names import mask_text
from bdpo_pipeline.tracking.entries import apply, apply_metrics
from bdpo_pipeline.tracking.journal import Entry, Line, read_lines
from bdpo_pipeline.tracking.outages import StoreOutageError, check_reachable, is_outage
from bdpo_pipeline.tracking.progress import Progress, read_refused, refuse, replace_refused
from bdpo_pipeline.tracking.run_store import METRICS_PER_BATCH, RunStore

# Told before and after something is done: what, and how many entries are sent by it.
Watch = Callable[[str, int], AbstractContextManager[None]]


class BlockedSessionError(RuntimeError):
    """The store works, but will not take this session."""


class Sender:
    """Sends entries of one session in order.

    Args:
        folder: of the session.
        store: where to.
        progress: how far it came; changed and saved.
        head: the journal's first entry.
        watch: told before and after entries are sent.
    """

    def __init__(self, folder: Path, store: RunStore, progress: Progress, head: Entry, watch: Watch) -> None:
        self._folder = folder
        self._store = store
        self._progress = progress
        self._head = head
        self._watch = watch

    def send_waiting(self) -> None:
        """Send what has not been sent, setting aside what the store refuses.

        Raises:
            StoreOutageError: the store takes nothing at the moment.
            BlockedSessionError: it does not take this session.
        """
        for number, group in enumerate(_groups(read_lines(self._folder, self._progress.offset))):
            if number == 0:
                self._open()
            with self._watch(group[0].entry["do"], len(group)):
                refused = self._send([line.entry for line in group])
            refuse(self._folder, refused)
            self._progress.offset = group[-1].end
            self._progress.save(self._folder)

    def send_refused(self) -> None:
        """Try again what the store refused.

        Raises:
            StoreOutageError, BlockedSessionError: as `send_waiting`.
        """
        waiting, refused_again = read_refused(self._folder), []
        if not waiting:
            return
        self._open()
        try:
            while waiting:
                refused_again += self._send_alone(waiting[0]["entry"])
                waiting.pop(0)
        finally:
            replace_refused(self._folder, [*refused_again, *waiting])
            self._progress.save(self._folder)

    def _open(self) -> None:
        """Make sure that there is an experiment; every error here is one of the store, not of an entry."""
        with self._watch("reach", 0):
            check_reachable(self._store.settings)
        try:
            with self._watch("prepare", 0):
                _ = self._store.client
            with self._watch("open", 0):
                self._progress.experiment = self._store.experiment_id
        except Exception as error:
            raise _unsent(error) from error

    def _send(self, entries: list[Entry]) -> list[dict[str, Any]]:
        """Send entries together if they can be, and return those that the store will never take, with the reason."""
        if len(entries) == 1:
            return self._send_alone(entries[0])
        try:
            apply_metrics(entries, self._store, self._progress)
        except Exception as error:
            if is_outage(error):
                raise _unsent(error) from error
            return [refused for entry in entries for refused in self._send_alone(entry)]
        return []

    def _send_alone(self, entry: Entry) -> list[dict[str, Any]]:
        try:
            apply(entry, self._folder, self._store, self._progress, self._head)
        except Exception as error:
            # Without its run, nothing of a run can be sent; and whoever deleted the experiment may restore it.
            if is_outage(error) or entry["do"] == "start":
                raise _unsent(error) from error
            parts = _parts(entry)
            if len(parts) > 1:
                return [refused for part in parts for refused in self._send_alone(part)]
            return [{"entry": entry, "reason": _first_line(error)}]
        return []


def _groups(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Yield entries that are sent together: metrics of one run up to what a request takes, anything else alone."""
    group: list[Line] = []
    size = 0
    for line in lines:
        entry = line.entry
        added = (
            sum(len(values) for _, values in entry["points"])
            if entry["do"] == "metrics"
            else METRICS_PER_BATCH
        )
        fits = group and size + added <= METRICS_PER_BATCH and group[0].entry["run"] == entry["run"]
        if group and not fits:
            yield group
            group, size = [], 0
        group.append(line)
        size += added
    if group:
        yield group


def _parts(entry: Entry) -> list[Entry]:
    """Return an entry as several with one name each, so that a wrong one does not take the others with it."""
    if entry["do"] == "metrics":
        names = dict.fromkeys(name for _, values in entry["points"] for name in values)
        points = {
            name: [[step, {name: values[name]}] for step, values in entry["points"] if name in values]
            for name in names
        }
        return [{**entry, "points": points[name]} for name in names]
    if entry["do"] in ("parameters", "tags"):
        return [{**entry, "values": {name: value}} for name, value in entry["values"].items()]
    if entry["do"] == "inputs":
        return [{**entry, "datasets": [dataset]} for dataset in entry["datasets"]]
    return [entry]


def _unsent(error: Exception) -> Exception:
    """Return the error that says whether all sessions have to wait or this one."""
    if isinstance(error, StoreOutageError):
        return error
    return (StoreOutageError if is_outage(error) else BlockedSessionError)(_first_line(error))


def _first_line(error: Exception) -> str:
    # MLflow's messages name the address that was asked, which may hold a password.
    return mask_text(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")

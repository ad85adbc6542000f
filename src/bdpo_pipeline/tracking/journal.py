"""What a session records, on disk before anything else: a folder with a file of entries and copies of small files.

An entry is a line of JSON that says in ``do`` what is to be done in MLflow. Runs have ids of our own in it, so nothing waits for the
store. A line that is torn, because the process was killed while it wrote, is the last one and counts as not written.
"""

import itertools
import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdpo_pipeline.tracking.locks import take
from bdpo_pipeline.tracking.settings import TrackingSettings

Entry = dict[str, Any]

JOURNAL = "journal.jsonl"
# Held as long as the process lives that writes the journal.
WRITER_LOCK = "writer.lock"


@dataclass(frozen=True)
class Line:
    """An entry, and where in the file it ends."""

    entry: Entry
    end: int


class Journal:
    """Writes the entries of one session; may be called from several threads.

    Args:
        session: its id, which names the folder.
        settings: which store and experiment the entries are for.

    Raises:
        OSError: the folder cannot be made, or is there already.
    """

    def __init__(self, session: str, settings: TrackingSettings) -> None:
        self.folder = Path(settings.spool) / session
        self.folder.mkdir(parents=True)
        self._alive = take(self.folder / WRITER_LOCK)
        self._file = os.open(self.folder / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._writing = threading.Lock()
        self._files = itertools.count(1)
        self._append(
            do="session",
            session=session,
            store=settings.public_uri,
            experiment=settings.experiment,
            registered_model=settings.registered_model,
            host=socket.gethostname(),
            pid=os.getpid(),
            at=_now(),
        )

    def start_run(self, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
        """Open a run, nested under ``parent`` if given, and return its id in this journal."""
        run = uuid.uuid4().hex
        self._append(do="start", run=run, name=name, tags=dict(tags), parent=parent, at=_now())
        self.sync()
        return run

    def log_parameters(self, run: str, parameters: Mapping[str, str]) -> None:
        """Record parameters."""
        if parameters:
            self._append(do="parameters", run=run, values=dict(parameters))

    def set_tags(self, run: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        if tags:
            self._append(do="tags", run=run, values=dict(tags))

    def log_metrics(self, run: str, points: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Record metrics measured now, given as (step, values by name)."""
        measured = [[step, dict(values)] for step, values in points if values]
        if measured:
            self._append(do="metrics", run=run, at=_now(), points=measured)

    def log_inputs(self, run: str, datasets: list[dict[str, Any]]) -> None:
        """Record data sets that the run used, as `dataset_inputs` describes them."""
        if datasets:
            self._append(do="inputs", run=run, datasets=datasets)

    def log_file(self, run: str, path: Path, folder: str | None = None, name: str | None = None) -> None:
        """Record a small file, as it is now, under ``folder`` of the run's files, by its own name if none is given."""
        copy = self._place(name or path.name)
        shutil.copyfile(path, copy)
        self._append_file(run, copy, folder)

    def log_text(self, run: str, content: str, name: str) -> None:
        """Record a text as a file of the run."""
        copy = self._place(name)
        copy.write_text(content, encoding="utf-8")
        self._append_file(run, copy, None)

    def log_json(self, run: str, content: Any, name: str) -> None:
        """Record a JSON file of the run; what JSON does not know is written as text."""
        self.log_text(run, json.dumps(content, indent=2, default=str), name)

    def register(self, run: str, trained: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Record a model that the run made, to be registered; its files stay where they are.

        Args:
            run: the run that made it.
            trained: fields of `TrainedAdapter`.
            tags: of the version.
        """
        self._append(do="register", run=run, id=uuid.uuid4().hex, trained=dict(trained), tags=dict(tags))

    def end_run(self, run: str, status: str) -> None:
        """End a run as FINISHED, FAILED or KILLED."""
        self._append(do="end", run=run, status=status, at=_now())
        self.sync()

    def sync(self) -> None:
        """Have the disk keep what was written so far, even if the machine loses power."""
        os.fsync(self._file)

    def close(self) -> None:
        """Stop writing."""
        os.close(self._file)
        if self._alive is not None:
            self._alive.close()

    def _append_file(self, run: str, copy: Path, folder: str | None) -> None:
        self._append(do="file", run=run, file=str(copy.relative_to(self.folder)), folder=folder)

    def _place(self, name: str) -> Path:
        place = self.folder / "files" / str(next(self._files)) / name
        place.parent.mkdir(parents=True)
        return place

    def _append(self, **entry: Any) -> None:
        line = _to_line(entry)
        with self._writing:
            size = os.fstat(self._file).st_size
            try:
                while line:
                    line = line[os.write(self._file, line) :]
            except OSError:
                os.ftruncate(self._file, size)  # on a full disk half a line may have been written
                raise


def read_lines(folder: Path, offset: int = 0) -> Iterator[Line]:
    """Yield the whole lines of a journal that begin at or after a place in it."""
    with (folder / JOURNAL).open("rb") as file:
        file.seek(offset)
        for text in file:
            if not text.endswith(b"\n"):
                return
            offset += len(text)
            yield Line(_parse(text), offset)


def read_head(folder: Path) -> Entry | None:
    """Return the entry that says whose journal this is; None where not even that was written."""
    try:
        first = next(read_lines(folder), None)
    except FileNotFoundError:
        return None
    return first.entry if first is not None and first.entry["do"] == "session" else None


def kill_open_runs(folder: Path) -> None:
    """End the runs that a dead process left open as KILLED, at the time when it last wrote.

    To be called by whoever holds the writer's lock.
    """
    journal = folder / JOURNAL
    last_written = int(journal.stat().st_mtime * 1000)
    lines = list(read_lines(folder))
    ended = {line.entry["run"] for line in lines if line.entry["do"] == "end"}
    started = [line.entry["run"] for line in lines if line.entry["do"] == "start"]
    ends = [
        {"do": "end", "run": run, "status": "KILLED", "at": last_written}
        for run in started
        if run not in ended
    ]
    if ends:
        with journal.open("r+b") as file:
            file.truncate(lines[-1].end)  # a torn line would run into the next one
            file.seek(0, os.SEEK_END)
            file.writelines(_to_line(end) for end in reversed(ends))


def sessions(spool: Path) -> list[Path]:
    """Return the folders of all sessions, the oldest first."""
    return sorted(path for path in spool.iterdir() if path.is_dir()) if spool.is_dir() else []


def _to_line(entry: Entry) -> bytes:
    return (json.dumps(entry, default=str) + "\n").encode()


def _parse(text: bytes) -> Entry:
    try:
        entry = json.loads(text)
    except ValueError:
        entry = None
    if isinstance(entry, dict) and "do" in entry:
        return entry
    return {"do": "unreadable", "text": text.decode(errors="replace")}


def _now() -> int:
    return int(time.time() * 1000)

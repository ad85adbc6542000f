"""All records below a folder, found by name, version, session or seal."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bdpo_pipeline.lineage.artifacts import record_path
from bdpo_pipeline.lineage.record import AlteredRecordError, Ingredient, Record, read_record

# Folders that hold copies of records or none: the tracking store's and those of running jobs.
_NOT_SEARCHED = {"mlflow_artifacts", "tracking_spool", "scratch", "01_raw"}


class NotFoundError(LookupError):
    """There is no such artifact, version or session."""


@dataclass(frozen=True)
class Entry:
    """A record, and where its artifact lies now or lay; None where the record comes from the tracking store."""

    record: Record
    path: Path | None


class Library:
    """Records by what they are asked for."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = sorted(entries, key=lambda entry: (entry.record.time, entry.record.name))
        self._by_seal = {entry.record.seal: entry for entry in self.entries}
        self._by_content = {(entry.record.name, entry.record.sha256): entry for entry in self.entries}

    def origin(self, name: str, ingredient: Ingredient) -> Entry | None:
        """Return the entry of an artifact that a node loaded: the very record, else one of the same content."""
        return self._by_seal.get(ingredient.record or "") or self._by_content.get((name, ingredient.sha256))

    def find(self, name: str, version: str | None = None) -> Entry:
        """Return a version of an artifact, by default the newest.

        Raises:
            NotFoundError: naming what there is.
        """
        named = [entry for entry in self.entries if entry.record.name == name]
        found = [entry for entry in named if version is None or entry.record.version == version]
        if found:
            return max(found, key=lambda entry: (entry.record.version or "", entry.record.time))
        if named:
            versions = ", ".join(str(entry.record.version) for entry in named[-5:])
            raise NotFoundError(f"{name} has no version {version}; the newest are: {versions}")
        names = ", ".join(sorted({entry.record.name for entry in self.entries}))
        raise NotFoundError(f"there is no record of {name!r}; there are: {names or 'none at all'}")

    def session(self, session: str) -> list[Entry]:
        """Return what a session saved, in the order in which it did."""
        return [entry for entry in self.entries if entry.record.session["run_id"] == session]

    def sessions(self) -> list[str]:
        """Return the ids of all sessions, oldest first."""
        return sorted({str(entry.record.session["run_id"]) for entry in self.entries})


def read_library(root: Path) -> tuple[Library, list[str]]:
    """Return the records below a folder, and what is wrong with those that cannot be read."""
    entries, damaged = [], []
    for path in artifacts_with_record(root):
        try:
            record = read_record(path)
        except AlteredRecordError as error:
            damaged.append(str(error))
        else:
            if record is not None:
                entries.append(Entry(record, path))
    return Library(entries), damaged


def artifacts_with_record(root: Path) -> Iterator[Path]:
    """Yield the places of artifacts beside which there is a record, whether or not they are there themselves."""
    suffix = record_path("").name
    for folder, inner, files in os.walk(root):
        inner[:] = sorted(name for name in inner if name not in _NOT_SEARCHED and not name.startswith("."))
        for name in sorted(files):
            if name.endswith(suffix) and not name.startswith("."):
                yield Path(folder) / name.removesuffix(suffix)

"""How far a session's journal has been sent, kept beside it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_PROGRESS = "progress.json"
_REFUSED = "refused.jsonl"


@dataclass
class Progress:
    """What a store has been told so far.

    Attributes:
        store: its address; ids and place count for no other.
        offset: all entries that end here or before have been sent.
        experiment: id of the experiment, None while the store was not reached.
        runs: ids of the runs in MLflow by those in the journal.
        open_runs: runs in MLflow that have not been ended.
    """

    store: str
    offset: int = 0
    experiment: str | None = None
    runs: dict[str, str] = field(default_factory=dict)
    open_runs: list[str] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Write it; what a kill or a power cut takes of it is only sent again."""
        replace(folder / _PROGRESS, asdict(self))


def load_progress(folder: Path) -> Progress | None:
    """Return the progress of a session, None where nothing was sent yet or the file was cut."""
    content = read(folder / _PROGRESS)
    return Progress(**content) if content is not None else None


def refuse(folder: Path, refused: list[dict[str, Any]]) -> None:
    """Set entries aside, each with the reason."""
    with (folder / _REFUSED).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in refused)


def replace_refused(folder: Path, refused: list[dict[str, Any]]) -> None:
    """Set these entries aside and no others."""
    path = folder / _REFUSED
    if not refused:
        path.unlink(missing_ok=True)
        return
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(entry) + "\n" for entry in refused), encoding="utf-8")
    partial.replace(path)


def read_refused(folder: Path) -> list[dict[str, Any]]:
    """Return the entries that were set aside, as ``{"entry": …, "reason": …}``."""
    path = folder / _REFUSED
    if not path.exists():
        return []
    return [
        json.loads(line)
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True)
        if line.endswith("\n")
    ]


def replace(path: Path, content: Any) -> None:
    """Write a JSON file so that a reader finds it whole, as it was or as it is to be."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    partial.replace(path)


def read(path: Path) -> dict[str, Any] | None:
    """Return a JSON file; None where there is none, or a power cut left it without content."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content

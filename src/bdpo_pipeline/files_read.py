"""Files that a node reads outside the catalog, such as raw data and model packages, noted while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain, count
from pathlib import Path

_noted: ContextVar[dict[str, Path] | None] = ContextVar("files_read", default=None)


def note_file(name: str, path: Path) -> None:
    """Say that the running node reads a file; without anyone who notes, nothing happens.

    Args:
        name: the same wherever the file lies, such as its path within the raw data. Other files of one name get a number in the order
            in which the node reads them: ``name``, ``name (2)``.
        path: where it lies now.
    """
    noted = _noted.get()
    if noted is None:
        return
    names = chain([name], (f"{name} ({number})" for number in count(2)))
    noted[next(free for free in names if noted.get(free, path) == path)] = path


@contextmanager
def noting_files() -> Iterator[dict[str, Path]]:
    """Collect the files that are read in the context, by name."""
    found: dict[str, Path] = {}
    token = _noted.set(found)
    try:
        yield found
    finally:
        _noted.reset(token)

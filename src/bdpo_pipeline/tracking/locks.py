"""Locks on files: held by one process at a time, and given up by the kernel whatever becomes of that process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bdpo_pipeline.locks import try_to_lock


def take(path: Path) -> IO[str] | None:
    """Return an open file that holds the lock until it is closed; None where another holds it or its folder is gone."""
    try:
        file = path.open("a")
    except FileNotFoundError:
        return None
    if not try_to_lock(file):
        file.close()
        return None
    return file


@contextmanager
def lock(path: Path) -> Iterator[bool]:
    """Hold a lock if it is free; the value says whether it is held."""
    file = take(path)
    try:
        yield file is not None
    finally:
        if file is not None:
            file.close()

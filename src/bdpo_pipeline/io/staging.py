"""What is saved appears whole or not at all: written aside, made durable, then put in its place in one step."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4

from kedro.io import DatasetError

from bdpo_pipeline.disk_space import clear_about_space
from bdpo_pipeline.durable import sync
from bdpo_pipeline.locks import try_to_lock

_PREFIX = ".partial-"
_LOCK = ".lock"


@contextmanager
def staged(target: Path, *, versioned: bool, needed: int | None = None) -> Iterator[Path]:
    """Give a path to write a file or folder to; when the block ends well, that becomes ``target`` in one step.

    It is written to ``<folder of target>/.partial-<uuid>/``, one level too deep to be taken for a version by Kedro, and with a lock
    that goes with the process: what killed saves left behind is removed by the next save of the same data set.

    Args:
        target: where it shall be. Without versions, what is there is replaced.
        versioned: whether the folder of ``target`` is a version of Kedro's, which is made here and by nobody else.
        needed: bytes that it will take, where that is known, for the message.

    Raises:
        NoSpaceError: the file system is full; nothing is left behind.
        DatasetError: the version is being written, or was written, by somebody else.
    """
    folder = target.parent
    with clear_about_space(target, needed):
        if versioned:
            remove_leftovers(folder.parent, f"*/{_PREFIX}*")
        else:
            remove_leftovers(folder)
        existing = next(place for place in folder.parents if place.exists())
        folder.parent.mkdir(parents=True, exist_ok=True)
        _make_version(folder) if versioned else folder.mkdir(exist_ok=True)
        try:
            aside, lock = make_aside(folder)
            try:
                yield aside / target.name
                _sync_all(aside / target.name)
                if target.is_dir():
                    target.rename(aside / ".replaced")
                (aside / target.name).rename(target)
            finally:
                lock.close()
                shutil.rmtree(aside, ignore_errors=True)
            for place in [folder, *folder.parents]:
                sync(place)
                if place == existing:
                    break
        finally:
            if versioned:
                _remove_if_empty(folder)


def link_or_copy(source: Path, target: Path) -> None:
    """Let ``target`` be the same file as ``source``, or a copy of it on another file system or one without hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _make_version(folder: Path) -> None:
    try:
        folder.mkdir()
    except FileExistsError:
        raise DatasetError(
            f"{folder} exists already: another run that started in the same millisecond saves under this version as well. Start this "
            "run again"
        ) from None


def make_aside(folder: Path) -> tuple[Path, IO[str]]:
    """Make a folder of one's own inside of another, which is made if need be.

    Returns:
        The folder, and an open file that keeps `remove_leftovers` from removing it while this process lives and does not close it.
    """
    while True:
        aside = folder / f"{_PREFIX}{uuid4().hex}"
        with contextlib.suppress(FileNotFoundError):
            folder.mkdir(exist_ok=True)  # it went with what another save took for a leftover
            aside.mkdir()
            lock = (aside / _LOCK).open("w")
            if _is_alone(lock):
                return aside, lock
            lock.close()
        # Between two of these steps another save took the folder for a leftover: once more, under another name.


def remove_leftovers(place: Path, pattern: str = f"{_PREFIX}*") -> None:
    """Remove the folders that `make_aside` made for processes that are gone.

    Args:
        place: where to look.
        pattern: of the folders, as seen from there.
    """
    with contextlib.suppress(FileNotFoundError):  # what another save removes at this moment
        for aside in list(place.glob(pattern)):
            if not (aside / _LOCK).exists():
                _remove_if_empty(aside)
                continue
            with (aside / _LOCK).open("r+") as lock:
                if _is_alone(lock):
                    shutil.rmtree(aside)
                    _remove_if_empty(aside.parent)


def _is_alone(lock: IO[str]) -> bool:
    """Return whether this process now has the lock on a file, and the file is still there."""
    return try_to_lock(lock) and os.fstat(lock.fileno()).st_nlink > 0


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _sync_all(path: Path) -> None:
    for part in [*path.rglob("*"), path]:
        sync(part)

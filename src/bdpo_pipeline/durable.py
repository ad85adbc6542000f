"""Files and folders that are on disk whole or not at all, also after a power cut.

The order is what makes it so: bytes, then the entries of the folder that holds them, then the name that others look for, then the
entry of that name.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bdpo_pipeline.disk_space import clear_about_space


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, replacing the one of that name in one step.

    Raises:
        NoSpaceError: there is no room; what was there before is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.partial")
    with clear_about_space(path, len(data)), _removed_on_error(partial):
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync(path.parent)


@contextlib.contextmanager
def whole_folder(target: Path, needed: int | None = None) -> Iterator[Path]:
    """Give an empty folder that becomes ``target``, in the place of an older one, when the block ends without an error.

    Args:
        target: where it is to be; the folder above exists.
        needed: bytes that the block is about to write, where that is known, for the message.

    Raises:
        NoSpaceError: there is no room; nothing is left of what was written.
    """
    staging = target.with_name(f".{target.name}")
    if staging.exists():  # of a run that was killed
        shutil.rmtree(staging)
    with clear_about_space(target, needed), _removed_on_error(staging):
        staging.mkdir()
        yield staging
        for path in [*staging.rglob("*"), staging]:
            sync(path)
        if target.exists():
            shutil.rmtree(target)
        staging.replace(target)
        sync(target.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        raise

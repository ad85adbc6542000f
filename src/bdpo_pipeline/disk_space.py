"""One clear error for a file system that is full, whoever noticed it."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT}


class NoSpaceError(OSError):
    """A file could not be written because its file system, or a quota on it, is full."""

    def __init__(self, path: Path, needed: int | None = None) -> None:
        free = free_bytes(path)
        more = f"{needed:,} bytes are needed" if needed is not None else "what is to be written takes more"
        super().__init__(
            f"no space left for {path}: {free:,} bytes are free there (a quota may leave less) and {more}. Nothing of it is kept, and "
            "what was saved before is as it was. Free space on that file system (old versions of artifacts, `kedro reference prune`), "
            "then run the same command again"
        )


@contextmanager
def clear_about_space(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn whatever a full file system makes a library raise into a :class:`NoSpaceError`.

    Args:
        path: what is written.
        needed: bytes that it takes, where that is known.

    Raises:
        NoSpaceError: the file system of ``path`` is full.
    """
    try:
        yield
    except NoSpaceError:
        raise
    except Exception as error:
        if is_full(error):
            raise NoSpaceError(path, needed) from error
        raise


def is_full(error: BaseException) -> bool:
    """Return whether an error, or one behind it, says that a file system is full; not all libraries raise OSError for it."""
    seen: BaseException | None = error
    while seen is not None:
        if (isinstance(seen, OSError) and seen.errno in _FULL) or "No space left on device" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def free_bytes(path: Path) -> int:
    """Return the bytes that are free for users on the file system of a path; the path itself need not exist."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free

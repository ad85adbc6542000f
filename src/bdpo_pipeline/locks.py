"""Locks on files: the kernel gives them up with the process that holds them, however that ends."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def alone(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Have a folder to oneself, as one run at a time works in it.

    Args:
        folder: it may not exist yet; the one above does, and gets a file for the lock.
        wait: until no other run has it.

    Yields:
        Whether it is had; always, if one waits.
    """
    lock = folder.with_name(folder.name + ".lock")
    descriptor = _acquire(lock, wait=False)
    if descriptor is None and wait:
        logger.info("Another run has %s in hand; waiting for it", folder)
        descriptor = _acquire(lock, wait=True)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            lock.unlink(missing_ok=True)
            os.close(descriptor)


def try_to_lock(file: IO[str] | int) -> bool:
    """Lock an open file for oneself unless there is a lock of any kind on it; return whether it is locked now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _acquire(lock: Path, *, wait: bool) -> int | None:
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if wait:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            elif not try_to_lock(descriptor):
                os.close(descriptor)
                return None
            # Who had it before may have removed the file that this process waited for.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), lock.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)

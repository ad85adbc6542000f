"""Folders that one run at a time works in: the lock goes with the process that holds it, however that ends."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def alone(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Have a folder to oneself.

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


def _acquire(lock: Path, *, wait: bool) -> int | None:
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # Who had it before may have removed the file that this process waited for.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), lock.stat()):
                    return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)

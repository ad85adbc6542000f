"""Results of finished jobs that are in use: the folder stays until every run that took them has them in its catalog."""

import fcntl
import os
import shutil
import weakref
from pathlib import Path

from bdpo_pipeline.locks import alone, try_to_lock

_IN_USE = "in-use"


class Taken:
    """A run's hold on what a finished job left in its folder; it goes with the process that has it, however that ends.

    To be made while one has the folder to oneself.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Shared locks of the same file, one for each run; who can lock it for itself is the last.
        descriptor = _open(folder)
        self._give_up = weakref.finalize(self, os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)

    def remove_folder(self) -> None:
        """Give the result up and remove the folder, unless another run still uses it, which then does so."""
        if not self.folder.exists():
            self._give_up()
            return
        with alone(self.folder):
            self._give_up()
            if self.folder.exists() and not _is_in_use(self.folder):
                shutil.rmtree(self.folder)


def _is_in_use(folder: Path) -> bool:
    descriptor = _open(folder)
    try:
        return not try_to_lock(descriptor)
    finally:
        os.close(descriptor)


def _open(folder: Path) -> int:
    return os.open(folder / _IN_USE, os.O_RDWR | os.O_CREAT, 0o644)

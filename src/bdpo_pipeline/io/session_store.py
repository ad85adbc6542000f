"""One name for one session: runs that start in the same millisecond would otherwise save to the same versions."""

import fcntl
import os
import tempfile
import time
from typing import Any

from kedro.framework.session.store import BaseSessionStore
from kedro.io.core import generate_timestamp

_RESOLUTION_SECONDS = 0.001


class UniqueSessionStore(BaseSessionStore):
    """Kedro's session store, but no two sessions of a machine have the same identifier, which is the version of all that they save.

    Kedro takes the time in milliseconds. Two runs that save to one version end with an error at best: the second finds some artifact
    there already, while others of its own have become the newest.
    """

    def __setitem__(self, key: str, value: Any) -> None:
        """Keep a value; in the place of the session's identifier, one that nobody else has."""
        super().__setitem__(key, unique_timestamp() if key == "session_id" else value)


def unique_timestamp() -> str:
    """Return the time as Kedro writes it in a version, when no other process of this machine does; it takes a millisecond or more."""
    # The folder itself is locked, which all may read and which leaves no file behind.
    folder = os.open(tempfile.gettempdir(), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        taken = generate_timestamp()
        while generate_timestamp() == taken:
            time.sleep(_RESOLUTION_SECONDS)
        return taken
    finally:
        os.close(folder)

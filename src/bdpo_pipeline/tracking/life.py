"""Whether the process that writes a journal may still live, where its lock alone does not tell."""

import socket
import time
from pathlib import Path

# Rewritten again and again by the process that sends a journal while it is written.
STATE = "state.json"
_SILENT_SECONDS = 600


def may_be_alive(folder: Path, host: str | None) -> bool:
    """Whether a session whose lock is free may go on elsewhere.

    On its own host the lock tells. Another host may share the folder without sharing locks: there, ten minutes without a sign of life
    tell, as they do where the process was killed before it wrote which host it is on (None).
    """
    if host == socket.gethostname():
        return False
    try:
        last_sign = (folder / STATE).stat().st_mtime
    except FileNotFoundError:
        last_sign = folder.stat().st_mtime
    return time.time() - last_sign < _SILENT_SECONDS

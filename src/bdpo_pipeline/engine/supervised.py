"""Runs a command that dies with the process that asked for it: ``python -m … <parent pid> <command …>`` (Linux).

The kernel keeps the wish across exec, so this works for commands that are not ours, such as a launcher of several processes.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, so that a killed parent leaves no orphan."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    die_with_parent()
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent died before its worker had started")
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606

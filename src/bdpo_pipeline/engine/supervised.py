"""Runs a command that dies with the process that asked for it: ``python -m … <parent pid> <command …>`` (Linux).

The kernel keeps the wish across exec, so this works for commands that are not ours, such as a launcher of several processes. What
these start has to wish it for itself.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
# Tells the processes below which one the command runs in.
_LEADER = "BDPO_PIPELINE_LEADER"


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, so that a killed parent leaves no orphan.

    To be called first of all: a parent that dies before is noticed, as long as this process runs in the command or right below it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    leader = os.environ.get(_LEADER)
    if leader is not None and int(leader) not in (os.getpid(), os.getppid()):
        sys.exit("the parent died before its worker had started")


if __name__ == "__main__":
    die_with_parent()
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent died before its worker had started")
    os.environ[_LEADER] = str(os.getpid())
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606

"""What a run ran with: code, packages, machine."""

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

KEY_PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets", "kedro", "mlflow", "pydantic")
_SECONDS = 10


@dataclass(frozen=True)
class GitState:
    """Commit and branch that are checked out, and whether tracked or new files differ from the commit."""

    commit: str
    branch: str
    dirty: bool


def git_state(folder: Path) -> GitState | None:
    """Return the state of the git checkout at ``folder``; None where there is none, or no git."""
    commit = _output(["git", "rev-parse", "HEAD"], folder)
    status = _output(["git", "status", "--porcelain"], folder)
    branch = _output(["git", "rev-parse", "--abbrev-ref", "HEAD"], folder)
    if commit is None or status is None or branch is None:
        return None
    return GitState(commit=commit, branch=branch, dirty=bool(status))


def installed_packages() -> dict[str, str]:
    """Return the version of every installed distribution, by name, sorted."""
    # An installation changes the folder that it goes to; until then, reading some hundred files again tells nothing.
    folders = [Path(place) for place in sys.path]
    return dict(_packages(tuple((str(path), path.stat().st_mtime_ns) for path in folders if path.is_dir())))


@lru_cache(maxsize=1)
def _packages(_folders: tuple[tuple[str, int], ...]) -> dict[str, str]:
    found = {dist.metadata["Name"]: dist.version for dist in metadata.distributions()}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def hardware() -> dict[str, str]:
    """Return CPU model, usable cores, memory and, where nvidia-smi finds any, the GPUs."""
    found = {
        "cpu": _cpu_model(),
        "cores": str(_usable_cores()),
        "memory_gib": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f}",
    }
    gpus = _output(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"])
    return {**found, "gpus": "; ".join(gpus.splitlines())} if gpus else found


def machine() -> dict[str, str]:
    """Return Python, operating system and hardware."""
    return {"python": platform.python_version(), "platform": platform.platform(), **hardware()}


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.open() if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _output(command: list[str], folder: Path | None = None) -> str | None:
    """Return what a command printed; None where it is missing, fails or hangs."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.strip() if done.returncode == 0 else None

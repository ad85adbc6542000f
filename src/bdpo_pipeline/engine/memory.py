"""How much memory a worker may take: what it was given, or a share of what is free."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

GB = 1e9
# What is left is for the caller, for other programs, and for what allocators lose between blocks.
CPU_SHARE = 0.6
GPU_SHARE = 0.85


@dataclass(frozen=True)
class Budget:
    """Memory of one process, in bytes.

    Attributes:
        total: that it may take in all, what it has already included.
        used: that it has.
        reason: where the total comes from.
    """

    total: float
    used: float
    reason: str


def find_budget(memory_gb: float | None, device: torch.device, processes: int) -> Budget:
    """Return the memory budget of this process.

    Args:
        memory_gb: what was asked for: of the machine on a CPU, of each GPU on GPUs; None for a share of what is free.
        device: of this process.
        processes: on this machine.
    """
    if device.type == "cuda":
        used = float(torch.cuda.memory_allocated(device))
        if memory_gb is not None:
            return Budget(memory_gb * GB, used, f"compute.memory_gb = {memory_gb:g}")
        free, _ = torch.cuda.mem_get_info(device)
        return Budget(
            used + GPU_SHARE * free, used, f"{GPU_SHARE:.0%} of the {free / GB:.1f} GB that are free"
        )
    used = float(resident_memory())
    among = f", shared by {processes} processes" if processes > 1 else ""
    if memory_gb is not None:
        return Budget(memory_gb * GB / processes, used, f"compute.memory_gb = {memory_gb:g}{among}")
    free = available_memory()
    reason = f"{CPU_SHARE:.0%} of the {free / GB:.1f} GB that are free{among}"
    return Budget(used + CPU_SHARE * free / processes, used, reason)


def resident_memory(root: Path = Path("/")) -> int:
    """Return the bytes of this process that are in memory (Linux)."""
    pages = int((root / "proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def available_memory(root: Path = Path("/")) -> int:
    """Return the bytes that can be taken without swapping: of the machine, or of this process's control group if that has less."""
    lines = (root / "proc/meminfo").read_text().splitlines()
    kibibytes = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return min([kibibytes * 1024, *_left_in_control_groups(root)])


def _left_in_control_groups(root: Path) -> Iterator[int]:
    """Yield what each limit above this process leaves, in version 1 and 2 of control groups."""
    groups = root / "proc/self/cgroup"
    lines = groups.read_text().splitlines() if groups.exists() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        elif not controllers:
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        else:
            continue
        own = mount / path.lstrip("/")
        # A container may see its group at the mount itself, while the path is that of the host.
        for folder in [own, *own.parents]:
            if (folder / names[0]).exists() and folder.is_relative_to(mount):
                limit = (folder / names[0]).read_text().strip()
                if limit != "max":
                    used = int((folder / names[1]).read_text()) - _statistic(folder / "memory.stat", names[2])
                    yield max(int(limit) - used, 0)


def _statistic(path: Path, name: str) -> int:
    """Return a value of a group's statistics; file pages that can be dropped count as used, and are not."""
    pairs = (line.split() for line in path.read_text().splitlines())
    return next((int(value) for key, value in pairs if key == name), 0)

"""What every task of a worker is given: its folder, its processes, and a way to report."""

import errno
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast

from bdpo_pipeline.disk_space import clear_about_space
from bdpo_pipeline.engine.events import Event
from bdpo_pipeline.engine.job_folder import STOP
from bdpo_pipeline.engine.jobs import Compute
from bdpo_pipeline.engine.sealed import seal
from bdpo_pipeline.engine.tokens import load_tokens

T = TypeVar("T")
# How long processes wait for each other: the main one alone writes checkpoints, of a large model for long. A process that fails does
# not leave them waiting, as the launcher then ends all.
_PATIENCE = timedelta(hours=2)
# What the engine's own sums of gradients and shards of weights are made for.
_OURS = ("NO", "MULTI_CPU", "MULTI_GPU")
_PROGRESS_EVERY_SECONDS = 1.0


class StoppedError(RuntimeError):
    """The caller asked to stop, and this is done."""


class EventWriter:
    """Appends events to a file, a line each, that the launcher follows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)

    def emit(self, event: Event) -> None:
        """Write one event, whole or not at all.

        Raises:
            NoSpaceError: there is no room.
        """
        self._write(json.dumps(event))

    def keep(self, event: Event) -> None:
        """Write one event that another run of the job is to know, too; see :mod:`bdpo_pipeline.engine.kept`.

        Raises:
            NoSpaceError: there is no room.
        """
        self._write(seal(event))

    def _write(self, text: str) -> None:
        line = text.encode() + b"\n"
        with clear_about_space(self._path, len(line)):
            written = self._file.write(line)
            if written < len(line):
                self._file.truncate(self._file.tell() - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass(frozen=True)
class WorkerContext:
    """A task's surroundings.

    Attributes:
        folder: of the job.
        accelerator: of this process.
        emit: reports an event.
        keep: reports one that another run of the job is to know, too.
        facts: what the task found out about how it runs, for the job's result.
    """

    folder: Path
    accelerator: Accelerator
    emit: Callable[[Event], None]
    keep: Callable[[Event], None]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Device of this process."""
        device: torch.device = self.accelerator.device
        return device

    @property
    def local_processes(self) -> int:
        """Number of the job's processes on this machine, as the launcher tells them."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.accelerator.num_processes))

    def load_tokens(self) -> tuple[dict[str, list[list[int]]], dict[str, Any]]:
        """Return the job's token ids and flat arrays."""
        return load_tokens(self.folder / "tokens.safetensors")

    def share(self, items: Sequence[T], process: int | None = None) -> list[T]:
        """Return a process's part of the items, by default this one's; the parts are disjoint and together all, however uneven."""
        first = self.accelerator.process_index if process is None else process
        return list(items[first :: self.accelerator.num_processes])

    def stops(self) -> bool:
        """Return whether the caller asks to stop, as the main process sees it; all must call."""
        asked = self.accelerator.is_main_process and (self.folder / STOP).exists()
        return bool(broadcast(torch.tensor([asked], dtype=torch.int32, device=self.device)))

    @contextmanager
    def progress(self, task: str, total: int) -> Iterator[Callable[[int], None]]:
        """Report progress: call the given function with the number of items just done."""
        start, reported, done = time.monotonic(), 0.0, 0

        def advance(count: int) -> None:
            nonlocal reported, done
            done += count
            seconds = time.monotonic() - start
            if seconds - reported >= _PROGRESS_EVERY_SECONDS or done >= total:
                reported = seconds
                self.emit(
                    {"event": "progress", "task": task, "done": done, "total": total, "seconds": seconds}
                )

        yield advance

    def describe(self) -> dict[str, Any]:
        """Return what really ran, to be compared with what was asked."""
        return {
            "processes": self.accelerator.num_processes,
            "distributed_type": self.accelerator.distributed_type.value,
            "device": _device_name(self.device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "peak_memory_bytes": _peak_memory(self.device),
            **self.facts,
        }


class LaunchMismatchError(RuntimeError):
    """What runs is not what was asked for."""


def start_accelerator(compute: Compute) -> Accelerator:
    """Set threads and device of this process and join the others.

    Raises:
        LaunchMismatchError: another number or kind of processes runs than was asked for, or the device is not there.
    """
    # Where the number is torch's own, too: before this call MKL takes fewer for small products, and what goes on after a cut makes it.
    torch.set_num_threads(compute.threads or torch.get_num_threads())
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise LaunchMismatchError(
            "compute.device is cuda and torch finds no CUDA device; set compute.device to auto or cpu"
        )
    patience = InitProcessGroupKwargs(timeout=_PATIENCE)
    accelerator = Accelerator(cpu=compute.device == "cpu", kwargs_handlers=[patience])
    # The same bits for the same job on a CPU; an operation that cannot promise that raises. Attention on a GPU cannot.
    torch.use_deterministic_algorithms(accelerator.device.type == "cpu")
    if accelerator.distributed_type.value not in _OURS:
        raise LaunchMismatchError(
            f"Accelerate started {accelerator.distributed_type.value}, by its own settings or the environment; the engine spreads "
            "weights itself: take these settings away and set compute.sharding"
        )
    if accelerator.num_processes != compute.processes:
        raise LaunchMismatchError(
            f"compute.processes asks for {compute.processes} processes and {accelerator.num_processes} run"
        )
    return accelerator


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        # Not `getrusage`, whose peak a process inherits from the one that started it.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

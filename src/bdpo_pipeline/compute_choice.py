"""What `compute: auto` means: device and dtype from what the machine has, in the caller's process and without torch.

Both are decided before any worker starts, and by facts rather than by timing: the precision is part of the reference cache's keys, so
it must be the same in every run on a machine.
"""

import logging
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)
_NVIDIA_DEVICE = "dev/nvidiactl"
_CPU_INFO = "proc/cpuinfo"
_QUERY = ("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader,nounits")
_QUERY_SECONDS = 60
# Ampere, the first with bfloat16 in its matrix units.
_BFLOAT16_CAPABILITY = 8.0
_BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")


class UnknownGpuError(RuntimeError):
    """The machine's GPU does not say what it is."""


@dataclass(frozen=True)
class Choice:
    """A value, and why it was chosen."""

    value: str
    reason: str


@cache
def resolve(device: str, dtype: str) -> tuple[str, str]:
    """Return device and dtype with ``auto`` replaced; what is chosen is logged once, with its reason."""
    chosen_device = choose_device(device, os.environ)
    chosen_dtype = choose_dtype(dtype, chosen_device.value)
    for name, asked, choice in (("device", device, chosen_device), ("dtype", dtype, chosen_dtype)):
        if asked == "auto":
            logger.info("compute.%s: auto is %s: %s", name, choice.value, choice.reason)
    return chosen_device.value, chosen_dtype.value


def choose_device(asked: str, environment: Mapping[str, str], root: Path = Path("/")) -> Choice:
    """Return ``cpu`` or ``cuda``.

    Args:
        asked: ``auto``, or one of the two.
        environment: environment variables.
        root: of the file system.
    """
    if asked != "auto":
        return Choice(asked, "as given")
    if not (root / _NVIDIA_DEVICE).exists():
        return Choice("cpu", f"there is no NVIDIA driver (no /{_NVIDIA_DEVICE})")
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return Choice("cpu", "CUDA_VISIBLE_DEVICES hides every GPU")
    return Choice("cuda", f"there is an NVIDIA driver (/{_NVIDIA_DEVICE})")


def choose_dtype(asked: str, device: str, root: Path = Path("/")) -> Choice:
    """Return ``float32`` or ``bfloat16``.

    Args:
        asked: ``auto``, or one of the two.
        device: ``cpu`` or ``cuda``.
        root: of the file system.

    Raises:
        UnknownGpuError: ``auto`` on a GPU that cannot be asked.
    """
    if asked != "auto":
        return Choice(asked, "as given")
    if device == "cuda":
        return _dtype_of_gpus(query_capabilities())
    reason = "on a CPU, computing in bfloat16 moves log-probs by more than the log-ratios of early training"
    flags = _bfloat16_flags(root / _CPU_INFO)
    if flags:
        reason += (
            f"; this one multiplies in bfloat16 ({', '.join(flags)}), so compute.dtype=bfloat16 would take about half the time and, "
            "for the weights, half the memory"
        )
    return Choice("float32", reason)


def query_capabilities() -> list[float]:
    """Ask the driver for the CUDA compute capability of each of the machine's GPUs.

    Raises:
        UnknownGpuError: it cannot be asked, or its answer is not understood.
    """
    remedy = "set compute.dtype to bfloat16 (Ampere and later) or float32, or compute.device to cpu"
    if shutil.which(_QUERY[0]) is None:
        raise UnknownGpuError(f"{_QUERY[0]} is not on PATH, so the GPU's precision is not known: {remedy}")
    try:
        asked = subprocess.run(_QUERY, capture_output=True, text=True, check=False, timeout=_QUERY_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise UnknownGpuError(
            f"`{' '.join(_QUERY)}` gave no answer in {_QUERY_SECONDS} seconds: {remedy}"
        ) from error
    try:
        if asked.returncode != 0:
            raise ValueError(f"exit code {asked.returncode}")
        capabilities = [float(line) for line in asked.stdout.splitlines() if line.strip()]
        if not capabilities:
            raise ValueError("no GPU listed")
    except ValueError as error:
        said = (asked.stdout + asked.stderr).strip()[-500:]
        raise UnknownGpuError(f"`{' '.join(_QUERY)}` failed ({error}): {said!r}. {remedy}") from error
    return capabilities


def _dtype_of_gpus(capabilities: list[float]) -> Choice:
    least = min(capabilities)
    what = f"{len(capabilities)} GPU(s), the least with compute capability {least}"
    if least >= _BFLOAT16_CAPABILITY:
        return Choice("bfloat16", f"{what}: {_BFLOAT16_CAPABILITY} and above multiply in bfloat16")
    return Choice("float32", f"{what}: below {_BFLOAT16_CAPABILITY} there is no bfloat16 in the matrix units")


def _bfloat16_flags(cpu_info: Path) -> list[str]:
    if not cpu_info.exists():  # as on macOS
        return []
    lines = cpu_info.read_text().splitlines()
    found = set(next((line for line in lines if line.startswith("flags")), "").split())
    return [flag for flag in _BFLOAT16_FLAGS if flag in found]

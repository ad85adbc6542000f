"""The matrix product's speed on this machine: what shares of the peak are shares of.

python peak.py OUT --dtype bfloat16 --threads 2
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

# The layers' own shapes and large squares, on a CPU and on a GPU; the fastest counts.
_SHAPES = {
    "cpu": [(1024, 576, 1536), (1024, 1536, 576), (2048, 2048, 2048)],
    "cuda": [(4096, 4096, 4096), (8192, 8192, 8192), (16384, 4096, 14336)],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--dtype", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=list(_SHAPES), default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    best = max(
        _speed(options.device, getattr(torch, options.dtype), shape) for shape in _SHAPES[options.device]
    )
    options.out.write_text(json.dumps({"flops_per_second": best}))


def _speed(device: str, dtype: torch.dtype, shape: tuple[int, int, int]) -> float:
    """Return operations per second of the clock that counts there: the processes' on a CPU, the wall's on a GPU."""
    clock: Callable[[], float] = time.process_time if device == "cpu" else time.monotonic
    rows, inner, columns = shape
    a = torch.randn(rows, inner, device=device).to(dtype)
    weight = torch.randn(columns, inner, device=device).to(dtype)
    operations = 2 * rows * inner * columns
    repeats = max(3, int((1e10 if device == "cpu" else 1e13) / operations))
    best = 0.0
    for _ in range(6):
        _wait(device)
        start = clock()
        for _ in range(repeats):
            torch.nn.functional.linear(a, weight)
        _wait(device)
        best = max(best, repeats * operations / (clock() - start))
    return best


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()

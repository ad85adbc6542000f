"""What every contestant is told on its command line; the standard library alone, as it runs in every environment."""

import argparse
from pathlib import Path


def parse_arguments(description: str | None) -> argparse.Namespace:
    """Return the arguments of a contestant."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workload", type=Path)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--pairs-per-step", type=int, default=8)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()

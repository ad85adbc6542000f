"""What every contestant is told on its command line; the standard library alone, as it runs in every environment."""

import argparse
from importlib import metadata
from pathlib import Path


def contestant_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what contestants of all benchmarks are told."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workload", type=Path, help="folder that workload.py wrote")
    parser.add_argument("model", help="prepared model folder")
    parser.add_argument("out", type=Path, help="JSON file to write")
    parser.add_argument("--tokens-per-batch", type=int, help="the engine's bound of a micro-batch")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    return parser


def parse_arguments(description: str | None) -> argparse.Namespace:
    """Return the arguments of a contestant."""
    parser = contestant_parser(description)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--pairs-per-step", type=int, default=8)
    parser.add_argument("--pairs-at-once", type=int, help="TRL's batch of a device; the rest is accumulated")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--full", action="store_true", help="train all weights instead of the adapter")
    parser.add_argument(
        "--defaults",
        action="store_true",
        help="TRL's own activation checkpointing, precision and reference pass",
    )
    return parser.parse_args()


def installed_versions() -> dict[str, str]:
    """Return the versions of what does the work."""
    return {name: metadata.version(name) for name in ("torch", "transformers", "peft", "accelerate")}

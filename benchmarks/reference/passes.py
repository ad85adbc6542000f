"""What both contestants are told, and the responses that they score."""

import argparse
from pathlib import Path
from typing import Any

from shared import read_rows

from bdpo_pipeline.reference.marginals import single_context

PASSES = ("conditional", "marginal")


def parse_arguments(description: str | None) -> argparse.Namespace:
    """Return the arguments of a contestant."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workload", type=Path, help="folder that training/workload.py wrote")
    parser.add_argument("model", help="prepared model folder")
    parser.add_argument("out", type=Path, help="JSON file to write")
    parser.add_argument("--pass", dest="which", choices=PASSES, required=True)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--tokens-per-batch", type=int, help="the engine's bound of a batch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    return parser.parse_args()


def read_items(options: argparse.Namespace) -> list[tuple[list[int], list[int]]]:
    """Return (context, response) of chosen and rejected of each pair: after its prompt, or after an empty one."""
    rows: list[dict[str, Any]] = read_rows(options.workload)
    empty = list(single_context(options.model, "empty_prompt"))
    conditional = options.which == "conditional"
    return [
        (row["prompt_ids"] if conditional else empty, row[side])
        for row in rows
        for side in ("chosen_ids", "rejected_ids")
    ]

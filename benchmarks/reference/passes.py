"""What both contestants are told, and the responses that they score."""

import argparse
from typing import Any

from shared import contestant_parser, read_rows

from bdpo_pipeline.reference.marginals import single_context

PASSES = ("conditional", "marginal")


def parse_arguments(description: str | None) -> argparse.Namespace:
    """Return the arguments of a contestant."""
    parser = contestant_parser(description)
    parser.add_argument("--pass", dest="which", choices=PASSES, required=True)
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

"""What is shared with the benchmark of training, whose folder lies beside this one."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "training"))

from arguments import contestant_parser
from cases import CASES
from flops import count_flops, count_places, shapes_of
from harness import (
    add_options,
    arguments_of,
    kept,
    key_of,
    measure_peak,
    prepare,
    run,
    shown_options,
)
from saved import Result
from workload import read_rows

__all__ = [
    "CASES",
    "Result",
    "add_options",
    "arguments_of",
    "contestant_parser",
    "count_flops",
    "count_places",
    "kept",
    "key_of",
    "measure_peak",
    "prepare",
    "read_rows",
    "run",
    "shapes_of",
    "shown_options",
]

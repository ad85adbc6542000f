"""Speed of the reference pass: log-probs of both responses of 128 pairs, after their prompt and after an empty one, without gradients.

    python benchmarks/reference/compare.py

Ours through its scoring job and launcher, beside the plain way (the model library over padded batches, all logits); each in a process
of its own, one after the other, start-up not counted. Every result is kept in --work as soon as it is measured, so a run that was cut
off goes on where it was; --again measures everything anew.
"""

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from passes import PASSES
from reference_page import write_page
from shared import (
    CASES,
    Result,
    add_options,
    arguments_of,
    kept,
    key_of,
    measure_peak,
    prepare,
    run,
    shown_options,
)

HERE = Path(__file__).resolve().parent
CONTESTANTS = {"ours": "run_ours.py", "plain": "run_plain.py"}
DTYPES = ["float32", "bfloat16"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=128)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--page", default="reference_speed.md", help="name of the page")
    add_options(parser)
    options = parser.parse_args()
    results = [row for dtype in options.dtypes for row in measure(dtype, options)]
    given = [f"--pairs={options.pairs}"] if options.pairs != parser.get_default("pairs") else []
    command = ["python benchmarks/reference/compare.py", *given, *shown_options(options)]
    write_page(options.out / "results" / options.page, results, " ".join(command))


def measure(dtype: str, options: argparse.Namespace) -> Iterator[Result]:
    """Yield what each pass took each contestant, ours first."""
    workload, model = prepare(CASES[dtype], options.pairs, options)
    peak = measure_peak(dtype, options)
    for which in PASSES:
        for name, script in CONTESTANTS.items():
            key = {"reference": name, "pass": which, **key_of(dtype, options), "pairs": options.pairs}
            start = [sys.executable, str(HERE / script), str(workload), model]
            tail = [*arguments_of(dtype, options), f"--pass={which}"]
            yield {**kept(key, partial(run, start, tail, options), options), "peak_flops": peak}


if __name__ == "__main__":
    main()

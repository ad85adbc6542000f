"""Hands thousands of mutated files to the project and writes what became of them to docs/results/fuzz.md.

    python benchmarks/fuzz.py --mutations 5000 --seed 0

Every file that a user hands over is mutated: preference sources and evaluation prompts of all kinds, parameter files, and the files
of a base model. The same seed gives the same mutations. Then come files that are small and ask for much memory, each in a process of
its own. Exits 1 where the project did what it must not do; the file is kept in --keep.
"""

import argparse
import itertools
import logging
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fuzzing.bombs import burst, make_bombs
from fuzzing.cases import Case, preference_cases, prompt_cases, run
from fuzzing.judge import Violation
from fuzzing.models import gguf_cases, model_cases
from fuzzing.page import Tally, write_page
from fuzzing.settings import parameter_cases

PAGE = Path(__file__).resolve().parents[1] / "docs" / "results" / "fuzz.md"
TEXT_SUFFIXES = ("jsonl", "jsonl.gz", "csv", "csv.gz")
# Of all mutations; a GGUF file takes seconds, a Parquet file a process.
SHARES = (
    (0.42, lambda seed: preference_cases(seed, TEXT_SUFFIXES)),
    (0.12, lambda seed: preference_cases(seed, ("parquet",))),
    (0.16, lambda seed: prompt_cases(seed, TEXT_SUFFIXES)),
    (0.04, lambda seed: prompt_cases(seed, ("parquet",))),
    (0.20, parameter_cases),
    (0.0576, model_cases),
    (0.0024, gguf_cases),
)


def main() -> int:
    options = _parse()
    logging.disable(logging.CRITICAL)
    tally = Tally(options.seed)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        folder = Path(place)
        start = time.monotonic()
        for case in _cases(options.mutations, options.seed):
            _judge(case, folder, tally, options.keep)
        tally.seconds = time.monotonic() - start
        for bomb in make_bombs(options.scale):
            print(bomb.name, bomb.what, file=sys.stderr)
            tally.bursts.append((bomb, burst(bomb, folder)))
    write_page(tally, options.page)
    print(f"{sum(tally.outcomes.values())} mutations, {len(tally.violations)} violations: {options.page}")
    return 1 if tally.violations else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mutations", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--scale",
        type=float,
        default=0.15,
        help="size of the files that ask for much memory; 1: lines of 2 GB",
    )
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument(
        "--keep",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="folder for files that were not handled",
    )
    return parser.parse_args()


def _cases(mutations: int, seed: int) -> Iterator[Case]:
    for share, begin in SHARES:
        yield from itertools.islice(begin(seed), max(1, round(share * mutations)))


def _judge(case: Case, folder: Path, tally: Tally, keep: Path) -> None:
    start = time.monotonic()
    # The weights of a real model are of a size by themselves, and tracing makes their conversion ten times slower.
    traced = not case.name.endswith(".gguf")
    if traced:
        tracemalloc.start()
    try:
        how, rows = "", Counter[str]()
        outcome = run(case, folder)
        how, rows = outcome.how, outcome.rows
    except Violation as violation:
        kept = keep / f"fuzz-{case.name}"
        kept.write_bytes(case.content)
        tally.violations.append((case, str(violation), kept))
        how = "violation"
        print(f"{case.kind}, {case.mutation}: {violation}; kept as {kept}", file=sys.stderr)
    peak = tracemalloc.get_traced_memory()[1] if traced else 0
    tracemalloc.stop()
    tally.add(case, how, rows, time.monotonic() - start, peak)


if __name__ == "__main__":
    sys.exit(main())

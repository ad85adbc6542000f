"""Training speed and memory beside TRL: the same pairs, model, initial adapter, order, precision and reference log-probs, in one run.

    make bench

builds an environment for each version of TRL and runs this. By hand, for fewer steps, other cases or other environments:

    python benchmarks/training/compare.py --steps 2 --cases float32 --trl .venv-trl-1.9.2/bin/python
    python benchmarks/training/compare.py --device cuda --cases bfloat16 --trl-defaults --model folder:MODEL --trl PYTHON …

Each contestant is a process of its own, one after the other. CPU seconds and wall seconds are of the training loop, from the first
step to the end of the last; start, tokenising and reference passes do not count for anyone. Peak memory is that of the whole process
(on a GPU: what torch allocated there). A contestant that would take more than --memory-limit is killed; TRL then takes half as many
pairs at once and accumulates gradients.

Every result is kept in --work as soon as it is measured, by case, contestant, options and code; run again, this measures only what is
missing and writes the same page. --again measures everything anew.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cases import CASES, TRICKS, Case
from figure import draw
from harness import HERE, add_options, arguments_of, kept, key_of, measure_peak, prepare, run, shown_options
from page import write_page
from saved import Result
from watch import OutOfMemoryError

# The ways to compute a step are measured in so many steps, and in these precisions.
STAGE_STEPS = 4
STAGE_CASES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Contestant:
    """Who trains: a script in an environment."""

    name: str
    python: str
    script: str
    arguments: tuple[str, ...] = ()


def main() -> None:
    options = parse_options()
    contestants = list(find_contestants(options.trl, options.trl_defaults))
    results = [row for name in options.cases for row in measure_case(CASES[name], contestants, options)]
    stages = [row for name in options.stages for row in measure_stages(CASES[name], options)]
    write_page(options.out / "results" / options.page, results, stages, command_of(options))
    draw(options.out / "figures" / f"{Path(options.page).stem}.svg", results, stages)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--cases", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE", help=", ".join(CASES))
    add("--stages", nargs="*", choices=STAGE_CASES, default=list(STAGE_CASES), help="precisions of the steps")
    add("--steps", type=int, help="of every case and of the stages; left out, each case has its own")
    add("--pairs-per-step", type=int, default=8)
    add("--trl", nargs="*", default=[], metavar="PYTHON", help="the python of each environment with TRL")
    add("--trl-defaults", action="store_true", help="TRL also with its own defaults in place of equal flags")
    add("--page", default="training_speed.md", help="name of the page; the plot is named alike")
    add_options(parser)
    return parser.parse_args()


def command_of(options: argparse.Namespace) -> str:
    """Return the command that writes the page, without the paths of this machine."""
    given = [] if options.steps is None else [f"--steps={options.steps}"]
    given += [] if options.cases == list(CASES) else ["--cases", *options.cases]
    given += [*shown_options(options), *(["--trl-defaults"] if options.trl_defaults else [])]
    return " ".join(
        ["python benchmarks/training/compare.py", *given, "--trl", *["PYTHON"] * len(options.trl)]
    )


def find_contestants(pythons: list[str], with_defaults: bool) -> Iterator[Contestant]:
    """Yield ours first, then each TRL by its version."""
    yield Contestant("ours", sys.executable, "run_ours.py")
    for python in pythons:
        ask = [python, "-c", "import importlib.metadata as m; print(m.version('trl'))"]
        version = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
        yield Contestant(f"TRL {version}", python, "run_trl.py")
        if with_defaults:
            yield Contestant(f"TRL {version}, its defaults", python, "run_trl.py", ("--defaults",))


def measure_case(case: Case, contestants: list[Contestant], options: argparse.Namespace) -> Iterator[Result]:
    """Yield what each contestant took, ours first."""
    steps = options.steps or case.steps
    workload, model = prepare(case, steps * options.pairs_per_step, options)
    shared = {
        **_key(case, steps, options),
        "learning_rate": case.learning_rate,
        "full": case.full,
        "large_vocabulary": case.large_vocabulary,
        "peak_flops": measure_peak(case.dtype, options),
    }
    arguments = [*_arguments(case, steps, options), f"--learning-rate={case.learning_rate}"]
    arguments += ["--full"] if case.full else []
    for contestant in contestants:
        start = [contestant.python, str(HERE / contestant.script), str(workload), model]
        sizes = list(halves(options.pairs_per_step)) if contestant.script == "run_trl.py" else [None]
        key = {"case": case.name, "contestant": contestant.name, **_key(case, steps, options)}
        tail = [*arguments, *contestant.arguments]
        yield shared | kept(key, partial(run_in_memory, start, tail, sizes, options), options)


def run_in_memory(
    start: list[str], tail: list[str], sizes: Sequence[int | None], options: argparse.Namespace
) -> Result:
    """Return what a script measured, with the first number of pairs at once that fits into the memory."""
    did_not_fit = []
    for size in sizes:
        try:
            found = run(start, [*tail, *([f"--pairs-at-once={size}"] if size else [])], options)
        except OutOfMemoryError as error:
            did_not_fit.append(f"{size} pairs at once: {error}" if size else str(error))
        else:
            return {**found, "did_not_fit": did_not_fit}
    return {"did_not_fit": did_not_fit}


def halves(number: int) -> Iterator[int]:
    """Yield the number and its halves as long as they are whole."""
    yield number
    if number % 2 == 0:
        yield from halves(number // 2)


def measure_stages(case: Case, options: argparse.Namespace) -> Iterator[Result]:
    """Yield what a step takes with each trick more."""
    steps = options.steps or STAGE_STEPS
    workload, model = prepare(case, steps * options.pairs_per_step, options)
    for number, trick in enumerate(TRICKS):
        key = {"stages": case.dtype, "tricks": number, **_key(case, steps, options)}
        start = [sys.executable, str(HERE / "run_stage.py"), str(workload), model]
        tail = [*_arguments(case, steps, options), f"--tricks={number}"]
        tail += ["--gradient", str(workload / "gradient.safetensors")]
        found = kept(key, partial(run_in_memory, start, tail, [None], options), options)
        yield {"trick": trick, "pairs_per_step": options.pairs_per_step, **found}


def _arguments(case: Case, steps: int, options: argparse.Namespace) -> list[str]:
    return [
        *arguments_of(case.dtype, options),
        f"--steps={steps}",
        f"--pairs-per-step={options.pairs_per_step}",
    ]


def _key(case: Case, steps: int, options: argparse.Namespace) -> Result:
    return {**key_of(case.dtype, options), "steps": steps, "pairs_per_step": options.pairs_per_step}


if __name__ == "__main__":
    main()

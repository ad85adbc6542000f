"""What the benchmarks of training and of the reference pass share: the command line, workloads, the peak, and running scripts."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cases import Case
from saved import ROOT, Result, measured
from watch import run_watched

HERE = Path(__file__).resolve().parent


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what every benchmark is asked."""
    add = parser.add_argument
    add("--longest", type=int, default=512, help="most tokens of a prompt with a response")
    add("--tokens-per-batch", type=int, help="the engine's bound of a micro-batch; left out, its own choice")
    add("--model", default="default", help="default, or SOURCE:NAME such as folder:PATH, tiny_random:llama")
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--threads", type=int, default=os.cpu_count())
    add("--memory-limit", type=float, default=20.0, metavar="GB", help="kill a contestant that takes more")
    add(
        "--work",
        type=Path,
        default=ROOT / "data" / "scratch" / "benchmark",
        help="models, workloads, results",
    )
    add("--out", type=Path, default=ROOT / "docs", help="folder of results/ and figures/")
    add("--again", action="store_true", help="measure anew what was measured before")


def prepare(case: Case, pairs: int, options: argparse.Namespace) -> tuple[Path, str]:
    """Return the folder of a case's workload and its model's, made in a process of its own if they are not there."""
    what = [options.model, case.dtype, options.device, pairs, options.longest]
    name = "-".join("".join(c if c.isalnum() else "_" for c in str(part)) for part in what)
    folder = options.work / "workloads" / (name + ("-large" if case.large_vocabulary else ""))
    done = folder / "base_model.json"
    if not done.exists():
        command = [sys.executable, str(HERE / "workload.py"), str(folder), "--model", options.model]
        command += [
            "--store",
            str(options.work / "models"),
            f"--pairs={pairs}",
            f"--longest={options.longest}",
        ]
        command += [f"--dtype={case.dtype}", f"--device={options.device}"]
        command += ["--large-vocabulary"] if case.large_vocabulary else []
        run_watched(command, threads=options.threads, limit_bytes=_limit(options))
    return folder, json.loads(done.read_text())["path"]


def measure_peak(dtype: str, options: argparse.Namespace) -> float:
    """Return the matrix product's operations per second: CPU second on a CPU, second of the wall on a GPU."""
    key = {"peak": dtype, "device": options.device, "threads": options.threads}
    start = [sys.executable, str(HERE / "peak.py")]
    tail = [f"--dtype={dtype}", f"--device={options.device}", f"--threads={options.threads}"]
    return float(kept(key, partial(run, start, tail, options), options)["flops_per_second"])


def run(start: list[str], tail: list[str], options: argparse.Namespace) -> Result:
    """Run a script that writes JSON into the file between the two parts of its command line."""
    out = options.work / "result.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    run_watched([*start, str(out), *tail], threads=options.threads, limit_bytes=_limit(options))
    found: Result = json.loads(out.read_text())
    out.unlink()
    return found


def kept(key: Result, measure: Callable[[], Result], options: argparse.Namespace) -> Result:
    """Return a result from the work folder, or measure it and keep it there."""
    scripts = [HERE, Path(sys.argv[0]).resolve().parent]
    result = measured(options.work / "results", key, measure, scripts=scripts, again=options.again)
    long = ("losses", "logps", "versions")
    print(json.dumps({name: value for name, value in result.items() if name not in long}), flush=True)
    return result


def key_of(dtype: str, options: argparse.Namespace) -> Result:
    """Return what every result depends on."""
    names = ("longest", "tokens_per_batch", "model", "device", "threads")
    return {"dtype": dtype, **{name: getattr(options, name) for name in names}}


def arguments_of(dtype: str, options: argparse.Namespace) -> list[str]:
    """Return what every script is told."""
    given = {name: getattr(options, name) for name in ("tokens_per_batch", "device", "threads")}
    rest = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]
    return [f"--dtype={dtype}", *rest]


def shown_options(options: argparse.Namespace) -> list[str]:
    """Return the options that shaped the results, without the paths of this machine."""
    given = [] if options.tokens_per_batch is None else [f"--tokens-per-batch={options.tokens_per_batch}"]
    return [*given, *(["--device=cuda"] if options.device == "cuda" else [])]


def _limit(options: argparse.Namespace) -> int:
    return int(options.memory_limit * 1e9)

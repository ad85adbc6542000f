"""Kills `kedro run` again and again, lets it continue, and compares what it ends with with a run that was never killed, byte for byte.

`python benchmarks/kills.py --kills 30 --page docs/results/kills.md`: the test environment (fp32, CPU) with a longer training, about
half a minute for each kill. SIGKILL goes to kedro's process group; its workers die with it. A third of the kills each is aimed at the
reference pass, at training, and at the writing of an artifact; the moment is drawn evenly over the time that this took in the run
without kills. Where it does not come, as that is done already or is done before the moment, the next is aimed at.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
RUNNER = "bdpo_pipeline.lineage.fresh.FreshRunner"
PARAMETERS = {
    "training.epochs": "20",
    "training.evaluate_every": "4",
    "training.checkpoint_every": "3",
    "training.early_stopping_patience": "200",
    "compute.tokens_per_batch": "1200",
}
NODES = {"the reference pass": "score_reference", "training": "train_adapter"}
WRITES = "the writing of an artifact"
# A save takes some hundredths of a second, most of it for the disk.
WRITE_SECONDS = 0.05
KILLS_PER_RUN = 6
_RUNNING = re.compile(r"Running node: (\w+):")
_SAVING = re.compile(r"Saving data to (\S+) \(")
_FRESH = re.compile(r"fresh: (\w+) \(")
_COMPLETED = re.compile(r"Completed node: (\w+)")


@dataclass(frozen=True)
class Plan:
    """A kill to come: `seconds` after a node has begun to run, or after the node's data set `name` has begun to be saved."""

    phase: str
    node: str
    name: str
    seconds: float


@dataclass(frozen=True)
class Kill:
    """A kill that was done."""

    run: int
    plan: Plan
    after_start: float
    during: str
    step: int | None


@dataclass
class Watched:
    """A `kedro run`: when its nodes and saves began, in seconds since its start, and what it does now."""

    process: "subprocess.Popen[str]"
    start: float = field(default_factory=time.monotonic)
    began: dict[str, float] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)
    now: str = "starting"
    lines: list[str] = field(default_factory=list)
    _news: threading.Event = field(default_factory=threading.Event)

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            for pattern, doing in ((_RUNNING, "running"), (_SAVING, "saving")):
                if found := pattern.search(line):
                    self.began.setdefault(found[1], time.monotonic() - self.start)
                    self.now = f"{doing} `{found[1]}`"
                    self._news.set()
            for pattern, doing in ((_COMPLETED, "after"), (_FRESH, "passing")):
                if found := pattern.search(line):
                    self.now = f"{doing} `{found[1]}`"
                    self.passed.add(found[1])
                    self._news.set()
        self._news.set()

    def wait_for(self, plan: Plan) -> bool:
        """Return whether the moment of a kill is there; false if the run has gone past it."""
        while plan.name not in self.began:
            if plan.node in self.passed or self.process.poll() is not None:
                return False
            self._news.wait(0.05)
            self._news.clear()
        time.sleep(plan.seconds)
        return self.process.poll() is None and (plan.phase == WRITES or plan.node in self.now)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    chance = random.Random(options.seed)
    work = options.work or Path(tempfile.mkdtemp(prefix="kills-"))
    work.mkdir(parents=True, exist_ok=True)
    data = work / "data"
    whole = watch(command(data, options), data, options)
    whole.process.wait()
    seconds = time.monotonic() - whole.start
    if whole.process.returncode != 0:
        sys.exit("the run without kills failed:\n" + "".join(whole.lines[-60:]))
    durations, order = timeline(whole, seconds)
    expected = contents(data)
    data.rename(work / "whole")
    kills: list[Kill] = []
    results: list[dict[str, bytes]] = []
    while len(kills) < options.kills:
        planned = plans(chance, durations, order, min(KILLS_PER_RUN, options.kills - len(kills)))
        kills += killed_run(len(results), planned, data, options)
        results.append(contents(data))
        data.rename(work / f"killed-{len(results) - 1}")
    page = describe(kills, expected, results, seconds, options)
    print(page)
    if options.page:
        options.page.write_text(page)
    unequal = [
        name
        for name in expected
        if name not in reasons() and any(r.get(name) != expected[name] for r in results)
    ]
    if not options.work:
        shutil.rmtree(work)
    return 1 if unequal else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, help="Markdown file to write")
    parser.add_argument("--work", type=Path, help="folder to keep all runs in; without, a temporary one")
    parser.add_argument("--pipelines", help="as `kedro run` takes it; the whole chain by default")
    parser.add_argument(
        "--beginning", type=Path, help="data folder to begin with, such as that of an earlier run"
    )
    parser.add_argument("--runner", default=RUNNER)
    return parser.parse_args(arguments)


def command(data: Path, options: argparse.Namespace) -> list[str]:
    parameters = ",".join(f"{name}={value}" for name, value in {"data_root": data, **PARAMETERS}.items())
    some = ["--pipelines", options.pipelines] if options.pipelines else []
    return [
        *(sys.executable, "-m", "kedro", "run", "--env", "test", "--runner", options.runner),
        *some,
        *("--params", parameters),
    ]


def watch(arguments: list[str], data: Path, options: argparse.Namespace) -> Watched:
    if not data.exists() and options.beginning:
        shutil.copytree(options.beginning, data)
    process = subprocess.Popen(
        arguments,
        cwd=ROOT,
        env={**os.environ, "KEDRO_LOGGING_CONFIG": str(logging_with_saves(data.parent))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    watched = Watched(process)
    threading.Thread(target=watched.read, daemon=True).start()
    return watched


def logging_with_saves(folder: Path) -> Path:
    """Write the project's logging configuration with a line for each data set that is saved."""
    config = yaml.safe_load((ROOT / "conf" / "logging.yml").read_text())
    config["loggers"]["kedro.io"]["level"] = "INFO"
    path = folder / "logging.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def timeline(whole: Watched, seconds: float) -> tuple[dict[str, float], list[str]]:
    """Return how long each node ran, until its first save, and all nodes and data sets in the order in which they began."""
    order = sorted(whole.began, key=lambda name: whole.began[name])
    ends = dict(zip(order, [whole.began[name] for name in order[1:]] + [seconds], strict=True))
    nodes = {found[1] for line in whole.lines if (found := _RUNNING.search(line))}
    return {name: ends[name] - whole.began[name] for name in order if name in nodes}, order


def plans(chance: random.Random, durations: dict[str, float], order: list[str], number: int) -> list[Plan]:
    """Return kills in the order in which a run comes to them, evenly over the phases that it has."""
    phases = [phase for phase, node in NODES.items() if node in durations] + [WRITES]
    makers: dict[str, str] = {}
    for name in order:
        makers[name] = name if name in durations else makers[order[order.index(name) - 1]]
    saves = [name for name in order if name not in durations]
    first = chance.randrange(len(phases))
    found = []
    for i in range(number):
        phase = phases[(first + i) % len(phases)]
        name = NODES.get(phase) or chance.choice(saves)
        found.append(Plan(phase, makers[name], name, chance.uniform(0, durations.get(name, WRITE_SECONDS))))
    return sorted(found, key=lambda plan: order.index(plan.name))


def killed_run(number: int, planned: list[Plan], data: Path, options: argparse.Namespace) -> list[Kill]:
    """Run until it is done, killed as planned on the way."""
    kills: list[Kill] = []
    while True:
        run = watch(command(data, options), data, options)
        while planned and not run.wait_for(planned[0]):
            planned.pop(0)
        if not planned:
            run.process.wait()
            if run.process.returncode != 0:
                sys.exit(f"after {len(kills)} kills the run failed:\n" + "".join(run.lines[-60:]))
            return kills
        during, moment = run.now, time.monotonic() - run.start
        os.killpg(run.process.pid, signal.SIGKILL)
        newest = step(data) if "train_adapter" in during else None
        kills.append(Kill(number, planned.pop(0), moment, during, newest))
        print(f"run {number + 1}: killed after {moment:.1f} s, {during}", file=sys.stderr, flush=True)
        run.process.wait()
        wait_for_workers(data)


def step(data: Path) -> int | None:
    """Return the newest training step that was reported."""
    files = sorted(data.glob("scratch/train-*/events-0.jsonl"), key=lambda path: path.stat().st_mtime)
    lines = (
        [json.loads(line) for line in files[-1].read_text().splitlines() if line.endswith("}")]
        if files
        else []
    )
    return max((event["step"] for event in lines if event["event"] == "metrics"), default=None)


def wait_for_workers(data: Path) -> None:
    deadline = time.monotonic() + 20
    while any(str(data).encode() in line for line in command_lines()):
        assert time.monotonic() < deadline, "a worker outlived the run that started it"
        time.sleep(0.05)


def command_lines() -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [line for line in found if b"bdpo_pipeline.engine.worker" in line]


def contents(data: Path) -> dict[str, bytes]:
    """Return the bytes of the newest version of every artifact, by its file's path without the version."""
    found: dict[str, bytes] = {}
    for version in sorted(data.glob("[0-9][0-9]_*/*/*/")):
        for path in sorted((version / version.parent.name).rglob("*")) or [version / version.parent.name]:
            if path.is_file():
                name = path.relative_to(version).as_posix()
                found[name] = path.read_bytes()
    return found


def reasons() -> dict[str, str]:
    """Return why the bytes of some artifacts are not determined, by file name, as the catalog says."""
    found = {}
    for path in sorted((ROOT / "conf" / "base").glob("catalog*.yml")):
        for entry in yaml.safe_load(path.read_text()).values():
            reason = entry.get("metadata", {}).get("lineage", {}).get("may_differ")
            if reason:
                found[entry["filepath"].rpartition("/")[2]] = reason
    return found


def describe(
    kills: list[Kill],
    expected: dict[str, bytes],
    results: list[dict[str, bytes]],
    seconds: float,
    options: argparse.Namespace,
) -> str:
    why = reasons()
    lines = [
        "# Killed and continued",
        "",
        f"Made by `python benchmarks/kills.py --kills {options.kills} --seed {options.seed}`: {len(kills)} SIGKILLs to all processes "
        f"of a run, in {len(results)} runs, each continued by the same command. The run without kills took {seconds:.0f} s.",
        "",
        "| kill | run | aimed at | seconds into it | hit while | seconds after the start | newest training step reported |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, kill in enumerate(kills, 1):
        reached = "" if kill.step is None else kill.step
        aimed = f"{kill.plan.phase}: `{kill.plan.name}`" if kill.plan.phase == WRITES else kill.plan.phase
        lines.append(
            f"| {number} | {kill.run + 1} | {aimed} | {kill.plan.seconds:.3f} | {kill.during} | {kill.after_start:.1f} | {reached} |"
        )
    lines += [
        "",
        "What the runs ended with, beside the run without kills:",
        "",
        "| artifact | same bytes |",
        "|---|---|",
    ]
    for name, content in sorted(expected.items()):
        equal = sum(result.get(name) == content for result in results)
        lines.append(f"| `{name}` | {equal} of {len(results)}{'; ' + why[name] if name in why else ''} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())

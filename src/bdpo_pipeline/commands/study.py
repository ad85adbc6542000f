"""`kedro study`: a study in several runs side by side."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

import click
from kedro.framework.cli.utils import _split_params, env_option
from kedro.framework.startup import ProjectMetadata

from bdpo_pipeline.commands.project import open_project
from bdpo_pipeline.interrupts import RUNNER

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline

_PIPELINE = "study"
_SHARED, _REST = "shared", "report"
# Namespaces of what is trained, or only asked, by itself; `study.<arm>` alone chooses among its tunings.
_NAMESPACE = re.compile(r"study\.(?P<arm>[^.]+)\.(?P<kind>tune|seed)_(?P<which>[^.]+)$")
_CHOOSE = "choose_point"
_LOOK_EVERY_SECONDS = 0.2
_VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"

Process = subprocess.Popen[str]


@dataclass(frozen=True)
class Part:
    """What one run does.

    Attributes:
        name: for its lines of output.
        nodes: that it runs to; none for all of the study.
        after: names of the parts that must have ended.
    """

    name: str
    nodes: tuple[str, ...]
    after: frozenset[str]


@click.group()
def study() -> None:
    """Studies: many arms, compared."""


@study.command()
@click.option(
    "--side-by-side",
    "runs",
    type=click.IntRange(min=1),
    required=True,
    help="how many runs at a time, each with its share of the GPUs; compute.processes and compute.threads are those of one run",
)
@click.option("--params", default="", help="as for kedro run")
@env_option
@click.pass_obj
def run(metadata: ProjectMetadata, runs: int, params: str, env: str | None) -> None:
    """Run a study in several runs side by side.

    First what all arms share; then every arm's tuning, and every arm with every seed, as many at a time as asked for; then what gathers
    and reports. What is done is not done again, so the same command goes on where it was cut off.
    """
    from kedro.framework.project import pipelines

    with open_project(metadata, env, _split_params(click.get_current_context(), None, params)):
        if _PIPELINE not in pipelines:
            raise click.UsageError(
                "there is no study: the parameters have no group `study`; see docs/study.md"
            )
        parts = parts_of(pipelines[_PIPELINE])
    options = [*(("--env", env) if env else ()), *(("--params", params) if params else ())]
    shares = gpu_shares(_visible_gpus(), runs)
    signal.signal(signal.SIGTERM, _exit)
    try:
        failed = run_parts(parts, runs, lambda part, place: _start(part, options, shares[place]))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    if failed:
        raise click.ClickException(
            f"{', '.join(failed)} failed, as said above; what was done is kept, and the same command goes on"
        )


def parts_of(pipeline: "Pipeline") -> list[Part]:
    """Return the runs that together are a study, each behind those that it waits for.

    Args:
        pipeline: of the whole study.
    """
    nodes: dict[str, list[str]] = {}
    tunings: dict[str, str] = {}
    for node in pipeline.nodes:
        if found := _NAMESPACE.match(node.namespace or ""):
            arm, kind, which = found.group("arm", "kind", "which")
            name = f"{arm} tuning" if kind == "tune" else f"{arm} seed {which}"
        elif node.short_name == _CHOOSE:
            arm = str(node.namespace).rpartition(".")[2]
            name = tunings[arm] = f"{arm} tuning"
        else:
            continue
        nodes.setdefault(name, []).append(node.name)
    own = {node for names in nodes.values() for node in names}
    shared = [node.name for node in pipeline.to_nodes(*own).nodes if node.name not in own]
    parts = [Part(_SHARED, tuple(shared), frozenset())]
    # Tunings first: an arm's seeds wait for its own.
    for name in sorted(nodes, key=lambda name: name not in tunings.values()):
        tuning = tunings.get(name.partition(" ")[0], name)
        parts.append(Part(name, tuple(nodes[name]), frozenset({_SHARED, tuning} - {name})))
    return [*parts, Part(_REST, (), frozenset(part.name for part in parts))]


def gpu_shares(gpus: Sequence[str], runs: int) -> list[list[str]]:
    """Return the GPUs of each run: parts of all where they suffice, else one that some runs share; nothing where there are none.

    Args:
        gpus: as `CUDA_VISIBLE_DEVICES` names them.
        runs: side by side.
    """
    if not gpus:
        return [[] for _ in range(runs)]
    return [list(gpus[place::runs]) or [gpus[place % len(gpus)]] for place in range(runs)]


def run_parts(parts: Iterable[Part], runs: int, start: Callable[[Part, int], Process]) -> list[str]:
    """Run parts as soon as those are done that they wait for; return the names of those that failed.

    After a failure those that run are waited for, and no other is started. What ends this early, such as Ctrl-C, ends those that run.

    Args:
        parts: in the order in which they are to start.
        runs: most at a time.
        start: starts one in a place, from 0 to ``runs - 1``, that no other runs in.
    """
    waiting, done, failed = list(parts), set[str](), list[str]()
    running, places = dict[str, Process](), dict[str, int]()
    try:
        while running or (waiting and not failed):
            free = 0 if failed else runs - len(running)
            for part in [part for part in waiting if part.after <= done][:free]:
                waiting.remove(part)
                places[part.name] = min(set(range(runs)) - {places[name] for name in running})
                running[part.name] = start(part, places[part.name])
            time.sleep(_LOOK_EVERY_SECONDS)
            for name, process in list(running.items()):
                if process.poll() is not None:
                    del running[name]
                    (failed.append if process.returncode else done.add)(name)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    return failed


def _visible_gpus() -> list[str]:
    import torch

    named = os.environ.get(_VISIBLE_GPUS)
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]


def _start(part: Part, options: Sequence[str], gpus: Sequence[str]) -> Process:
    """Start a run that dies with this process, in a session of its own, so that Ctrl-C reaches it once and through here."""
    narrowed = ["--to-nodes", ",".join(part.nodes)] if part.nodes else []
    kedro = [sys.executable, "-m", "kedro", "run", "--pipelines", _PIPELINE, "--runner", RUNNER]
    guard = [sys.executable, "-m", "bdpo_pipeline.engine.supervised", str(os.getpid())]
    process = subprocess.Popen(
        [*guard, *kedro, *options, *narrowed],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **({_VISIBLE_GPUS: ",".join(gpus)} if gpus else {})},
        text=True,
        start_new_session=True,
    )
    threading.Thread(target=_pass_on, args=(part.name, process)).start()
    return process


def _pass_on(name: str, process: Process) -> None:
    for line in process.stdout or ():
        click.echo(f"[{name}] {line}", nl=False)


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)

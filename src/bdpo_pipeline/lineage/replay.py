"""A run made again in a clean checkout, and compared byte by byte with what it made the first time."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdpo_pipeline.durable import write_whole
from bdpo_pipeline.lineage.library import Entry
from bdpo_pipeline.lineage.parameter_names import MASK
from bdpo_pipeline.lineage.recipe import FileHashes
from bdpo_pipeline.lineage.record import Made, Record

logger = logging.getLogger(__name__)

# What narrows a run down, as Kedro's hooks and its configuration file call it.
_OPTIONS = ("tags", "from_nodes", "to_nodes", "node_names", "from_inputs", "to_outputs", "namespaces")
# These say where; the checkout has its own places.
_PLACES = {"data_root", "raw_root"}
_REPLAYED_PARAMETERS = "conf/local/parameters_replayed.yml"
_RUN_OPTIONS = "replay.yml"


class ReplayError(RuntimeError):
    """A run cannot be made again; the message says what is missing."""


@dataclass(frozen=True)
class Replayed:
    """What came of one artifact.

    Attributes:
        name: in the catalog.
        outcome: ``equal``, ``differs`` or ``missing``.
        expected: why it may differ; None where it must be equal.
    """

    name: str
    outcome: str
    expected: str | None


def plan(entries: list[Entry], project: Path, anyway: bool) -> Record:
    """Return the last record of a session that can be made again.

    Args:
        entries: what it saved.
        project: folder of the project's checkout.
        anyway: make the commit again, though the run had changes on top of it.

    Raises:
        ReplayError: it began in the middle of the chain, its commit is not known here, or files had changes.
    """
    if not entries:
        raise ReplayError("the run saved nothing that has a record, so there is nothing to make again")
    record = entries[-1].record
    own = {entry.record.seal for entry in entries}
    older = sorted(
        {
            f"{name} {ingredient.version}"
            for entry in entries
            for name, ingredient in entry.record.made.every_ingredient()
            if ingredient.record not in own
        }
    )
    if older:
        raise ReplayError(
            f"the run took up what earlier runs had made ({', '.join(older)}): replay one that ran the whole chain; "
            "`kedro lineage show` names the sessions that made these"
        )
    if not record.code:
        raise ReplayError("the run was not made in a git checkout, so its code is not known")
    if record.code["dirty"] == "true" and not anyway:
        raise ReplayError(
            f"files differed from commit {record.code['commit'][:10]} when the run was made, so the commit alone is not its code; "
            "--anyway replays the commit without them"
        )
    if _git(project, "cat-file", "-e", f"{record.code['commit']}^{{commit}}").returncode != 0:
        raise ReplayError(f"commit {record.code['commit']} is not in {project}: fetch it first")
    return record


def check_out(record: Record, entries: Iterable[Entry], project: Path, target: Path) -> None:
    """Make a clean checkout of a run's commit, with its parameters and, where the commit lacks them, its raw files.

    Raises:
        ReplayError: the folder is not empty, or a raw file is not what the run read.
    """
    if target.exists() and any(target.iterdir()):
        raise ReplayError(f"{target} is not empty; name a new folder with --into")
    for command in (
        ["clone", "--quiet", "--no-checkout", "--shared", str(project), str(target)],
        ["-C", str(target), "checkout", "--quiet", "--detach", record.code["commit"]],
    ):
        done = _git(project, *command)
        if done.returncode != 0:
            raise ReplayError(f"git {command[0]} failed: {done.stderr.strip()}")
    hashes = FileHashes()
    for made in {
        id(made): made for entry in entries for made in entry.record.made.with_all_in_memory()
    }.values():
        _bring_files(made, project, target, hashes)
    if record.session["env"] in (None, "local"):
        parameters = _parameters(entry.record.made for entry in entries)
        # JSON is YAML, too.
        (target / _REPLAYED_PARAMETERS).parent.mkdir(parents=True, exist_ok=True)
        write_whole(target / _REPLAYED_PARAMETERS, json.dumps(parameters, indent=1))


def run_options(record: Record) -> dict[str, Any]:
    """Return how a run was called, as `kedro run --config` reads it."""
    session = record.session
    options = {name: ",".join(session[name]) for name in _OPTIONS if session.get(name)}
    parameters = {
        name: value for name, value in (session["runtime_params"] or {}).items() if name not in _PLACES
    }
    given = {
        "env": session["env"],
        **options,
        "pipelines": ",".join(session["pipeline_names"] or []),
        "params": _unmasked(parameters),
    }
    return {"run": {name: value for name, value in given.items() if value}}


def run_again(record: Record, target: Path) -> None:
    """Make a run again in its checkout; what it says goes to the terminal.

    Raises:
        ReplayError: it failed.
    """
    write_whole(target / _RUN_OPTIONS, json.dumps(run_options(record), indent=1))
    command = [sys.executable, "-m", "kedro", "run", "--config", _RUN_OPTIONS]
    logger.info("In %s: kedro run --config %s", target, _RUN_OPTIONS)
    paths = [str(target / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        command, cwd=target, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, check=False
    )
    if done.returncode != 0:
        raise ReplayError(
            f"the run in {target} failed with exit code {done.returncode}; its messages are above"
        )


def outcomes(first: Iterable[Entry], again: Iterable[Entry], may_differ: Mapping[str, str]) -> list[Replayed]:
    """Compare what a run made with what it makes again.

    Args:
        first: what it made the first time.
        again: what it made now.
        may_differ: by catalog name without an arm, why the bytes of an artifact are not determined.
    """
    now = {entry.record.name: entry.record.sha256 for entry in again}
    found = []
    for entry in first:
        name = entry.record.name
        outcome = "missing" if name not in now else "equal" if now[name] == entry.record.sha256 else "differs"
        found.append(Replayed(name, outcome, may_differ.get(name.rpartition(".")[2])))
    return found


def _parameters(all_made: Iterable[Made]) -> dict[str, Any]:
    """Return the parameters that the nodes were given, as a parameters file holds them."""
    found: dict[str, Any] = {}
    for made in (inner for outer in all_made for inner in outer.with_all_in_memory()):
        for name, value in made.recipe.parameters.items():
            if name.startswith("params:"):
                *groups, last = name.removeprefix("params:").split(".")
                place = found
                for group in groups:
                    place = place.setdefault(group, {})
                place[last] = _unmasked(value)
    return found


def _unmasked(value: Any) -> Any:
    """Return a value without what was masked: the checkout's own configuration says it."""
    if isinstance(value, Mapping):
        return {name: _unmasked(inner) for name, inner in value.items() if inner != MASK}
    return value


def _bring_files(made: Made, project: Path, target: Path, hashes: FileHashes) -> None:
    for name, place in made.files.items():
        source = project / place
        expected = made.recipe.files[name]
        if hashes.of_file(source) != expected:
            raise ReplayError(
                f"{name} in {source} is not what the run read (SHA-256 {expected[:12]}…): put that file there"
            )
        if source.is_relative_to(project) and not (target / source.relative_to(project)).exists():
            copy = target / source.relative_to(project)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)


def _git(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)

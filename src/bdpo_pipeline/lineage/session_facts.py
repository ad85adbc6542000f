"""What is true of a whole session: how it was called, with which code, packages and machine."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdpo_pipeline.lineage.environment import git_state, installed_packages, machine
from bdpo_pipeline.lineage.parameter_names import mask_text, redact

# Of what Kedro says of a run: what says where, not what.
_NOT_SAID = ("project_path",)


@dataclass(frozen=True)
class SessionFacts:
    """What every record of a session carries; see `record.Record`."""

    session: dict[str, Any]
    code: dict[str, str]
    machine: dict[str, str]
    packages: dict[str, str]
    tracking: dict[str, str]


def session_facts(run_params: Mapping[str, Any], project: Path, tracking: Mapping[str, str]) -> SessionFacts:
    """Return the facts of the running session.

    Args:
        run_params: what Kedro's hooks are given.
        project: its folder.
        tracking: where it is tracked.
    """
    given = {name: _plain(name, value) for name, value in run_params.items() if name not in _NOT_SAID}
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return SessionFacts(
        session={**given, "command": mask_text(command)},
        code=code_facts(project),
        machine=machine(),
        packages=installed_packages(),
        tracking=dict(tracking),
    )


def code_facts(project: Path) -> dict[str, str]:
    """Return commit, branch and dirtiness of the project's checkout; empty where there is none."""
    git = git_state(project)
    if git is None:
        return {}
    return {"commit": git.commit, "branch": git.branch, "dirty": str(git.dirty).lower()}


def _plain(name: str, value: Any) -> Any:
    # Kedro passes names of pipelines through a set, so their order says nothing.
    return redact(name, sorted(value) if isinstance(value, list | tuple | set | frozenset) else value)

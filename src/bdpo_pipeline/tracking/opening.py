"""How the tracking of a session begins: code, packages, machine and parameters."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kedro
from kedro.io import CatalogProtocol
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline

from bdpo_pipeline.lineage.environment import KEY_PACKAGES, git_state, installed_packages, machine
from bdpo_pipeline.lineage.parameter_names import mask_text
from bdpo_pipeline.tracking.journal import Journal
from bdpo_pipeline.tracking.stages import plan_stages
from bdpo_pipeline.tracking.tracker import Tracker


def open_tracker(
    journal: Journal,
    project: Path,
    run_params: Mapping[str, Any],
    pipeline: Pipeline,
    catalog: CatalogProtocol[str, Any],
) -> Tracker:
    """Return the tracker of a session, with what is known before the first node.

    Args:
        journal: of the session.
        project: folder of the project.
        run_params: what Kedro's hooks are given.
        pipeline: that is to run.
        catalog: of the session.
    """
    packages = installed_packages()
    tags = {**_code_tags(project), "kedro.session": run_params["run_id"]}
    tracker = Tracker(journal, catalog, run_params["run_id"], tags, plan_stages(pipeline))
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    facts = {
        "kedro.version": kedro.__version__,
        "kedro.pipeline": ", ".join(run_params["pipeline_names"] or ["__default__"]),
        "kedro.env": run_params["env"] or "default",
        "command": mask_text(command),
        **machine(),
        **{f"version.{name}": packages[name] for name in KEY_PACKAGES if name in packages},
    }
    tracker.log_environment(run_params, facts, packages)
    tracker.log_parameters(filter(is_parameter, pipeline.inputs()))
    return tracker


def _code_tags(project: Path) -> dict[str, str]:
    git = git_state(project)
    if git is None:
        return {"git.commit": "none: not a git checkout"}
    return {
        "git.commit": git.commit,
        "git.branch": git.branch,
        "git.dirty": str(git.dirty).lower(),
        "mlflow.source.git.commit": git.commit,
    }

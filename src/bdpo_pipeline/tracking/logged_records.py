"""Lineage records as MLflow keeps them, for when those beside the artifacts are gone."""

import logging
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.context import KedroContext

from bdpo_pipeline.lineage.library import Entry
from bdpo_pipeline.lineage.record import AlteredRecordError, from_json
from bdpo_pipeline.tracking.run_store import RunStore
from bdpo_pipeline.tracking.settings import SQLITE, TrackingSettings

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

FOLDER = "lineage"
_RUN_ID = re.compile(r"[0-9a-f]{32}")


def logged_records(context: KedroContext, target: str) -> list[Entry]:
    """Return the records of a session, in the order in which they were saved; empty where MLflow knows no such session.

    Args:
        context: of the project; it says where runs are tracked.
        target: id of an MLflow run of the session, or of the session.
    """
    configured = TrackingSettings(**context.config_loader["tracking"]["tracking"])
    settings = configured.relative_to(context.project_path)
    database = settings.tracking_uri.removeprefix(SQLITE)
    if not settings.enabled or (settings.tracking_uri.startswith(SQLITE) and not Path(database).is_file()):
        return []
    from mlflow.exceptions import MlflowException

    try:
        found = list(_read(RunStore(settings).client, settings.experiment, target))
    except (MlflowException, OSError) as error:
        logger.warning("MLflow could not be asked for %s (%s: %s)", target, type(error).__name__, error)
        return []
    return sorted(found, key=lambda entry: (entry.record.time, entry.record.name))


def _read(client: "MlflowClient", experiment: str, target: str) -> Iterator[Entry]:
    for run in _runs(client, experiment, target):
        files = [file.path for file in client.list_artifacts(run, FOLDER)]
        with tempfile.TemporaryDirectory() as folder:
            for file in files:
                path = Path(client.download_artifacts(run, file, folder))
                try:
                    yield Entry(from_json(path.read_bytes().decode(), f"{file} of run {run}"), None)
                except AlteredRecordError as error:
                    logger.warning("%s", error)


def _runs(client: "MlflowClient", experiment: str, target: str) -> list[str]:
    """Return the ids of all runs of a session."""
    session = target
    if _RUN_ID.fullmatch(target):
        session = client.get_run(target).data.tags.get("kedro.session", "")
    known = client.get_experiment_by_name(experiment)
    if known is None or not session:
        return []
    wanted = f"tags.`kedro.session` = '{session}'" if "'" not in session else "tags.none = 'none'"
    runs: list[Any] = client.search_runs([known.experiment_id], wanted, max_results=1000)
    return [str(run.info.run_id) for run in runs]

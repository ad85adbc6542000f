"""MLflow runs, through its client alone: no global state, everything in batches that it accepts, and nothing doubled.

Each request may have been applied although no answer came. So whatever creates looks first whether it is there, and the rest ends in
the same whether it is done once or twice.
"""

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdpo_pipeline.tracking.outages import StoreOutageError
from bdpo_pipeline.tracking.settings import SQLITE, TrackingSettings

if TYPE_CHECKING:
    from mlflow import MlflowClient

METRICS_PER_BATCH = 1000
_ENTRIES_PER_BATCH = 100
# Carried by whatever is created, so that it is found again.
TRACKING_ID = "tracking_id"
_CONFIGURED = {
    # MLflow itself would create again what was created already.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class RunStore:
    """Creates, fills and ends the runs of one experiment. Nothing is asked of the store before the first request.

    Args:
        settings: with absolute paths.
    """

    def __init__(self, settings: TrackingSettings) -> None:
        self.settings = settings

    @cached_property
    def client(self) -> "MlflowClient":
        """MLflow's client; a database is made or opened with it."""
        os.environ.update(_CONFIGURED)
        if self.settings.tracking_uri.startswith(SQLITE):
            Path(self.settings.tracking_uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        from mlflow import MlflowClient

        return MlflowClient(self.settings.tracking_uri, self.settings.tracking_uri)

    @cached_property
    def experiment_id(self) -> str:
        """Id of the experiment, which is made if need be."""
        name = self.settings.experiment
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        location = None if self.settings.is_server else self.settings.artifact_location
        return str(self.client.create_experiment(name, artifact_location=location))

    def create_run(self, run: Mapping[str, Any], tags: Mapping[str, str], parent: str | None) -> str:
        """Return the id in MLflow of a run, created if it is not there.

        Args:
            run: its ``run`` (id in the journal), ``name`` and ``at`` (when it started, ms).
            tags: what it is to carry.
            parent: id in MLflow of the run to nest it under.

        Raises:
            StoreOutageError: the store did not say which run it is.
        """
        ids = self._find_runs(run["run"])
        if not ids:
            nesting = {"mlflow.parentRunId": parent} if parent else {}
            created = self.client.create_run(
                self.experiment_id, run["at"], {**tags, **nesting, TRACKING_ID: run["run"]}, run["name"]
            )
            ids = [created.info.run_id]
        if not ids[0]:
            raise StoreOutageError("the server created a run and did not name it")
        return str(ids[0])

    def log_parameters(self, run: str, parameters: Mapping[str, str]) -> None:
        """Record parameters; one that stands there already must have the same value."""
        from mlflow.entities import Param

        for batch in _batches(parameters.items(), _ENTRIES_PER_BATCH):
            self.client.log_batch(run, params=[Param(name, value) for name, value in batch])

    def set_tags(self, run: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        from mlflow.entities import RunTag

        for batch in _batches(tags.items(), _ENTRIES_PER_BATCH):
            self.client.log_batch(run, tags=[RunTag(name, value) for name, value in batch])

    def log_metrics(self, run: str, measured: Iterable[tuple[int, int, Mapping[str, float]]]) -> None:
        """Record metrics, given as (time in ms, step, values by name); MLflow keeps one of each that is equal in all."""
        from mlflow.entities import Metric

        metrics = (
            Metric(name, value, at, step) for at, step, values in measured for name, value in values.items()
        )
        for batch in _batches(metrics, METRICS_PER_BATCH):
            self.client.log_batch(run, metrics=batch)

    def log_inputs(self, run: str, datasets: list[dict[str, Any]]) -> None:
        """Record data sets that the run used, as `dataset_inputs` describes them; MLflow keeps one of each."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(
                    name=entry["name"],
                    digest=entry["digest"],
                    source_type=entry["source_type"],
                    source=json.dumps(entry["source"]),
                    profile=json.dumps(entry["profile"]),
                ),
                [InputTag(key, value) for key, value in entry["tags"].items()],
            )
            for entry in datasets
        ]
        self.client.log_inputs(run, datasets=inputs)

    def log_file(self, run: str, path: Path, folder: str | None) -> None:
        """Copy a small file to the run, over the one of that name."""
        self.client.log_artifact(run, str(path), folder)

    def end_run(self, run: Mapping[str, Any], mlflow_run: str) -> None:
        """End a run.

        Args:
            run: its ``run`` (id in the journal), ``status`` and ``at`` (when it ended, ms).
            mlflow_run: its id in MLflow.
        """
        # A request to create it, answered too late, may have been applied after another was sent.
        for twin in self._find_runs(run["run"]):
            if twin != mlflow_run:
                self.client.delete_run(twin)
        self.client.set_terminated(mlflow_run, run["status"], run["at"])

    def _find_runs(self, tracking_id: str) -> list[str]:
        from mlflow.entities import ViewType

        # Deleted ones count: whoever deleted a run does not want it again.
        found = self.client.search_runs(
            [self.experiment_id], f"tags.{TRACKING_ID} = '{tracking_id}'", ViewType.ALL
        )
        runs = sorted((run.info for run in found), key=lambda run: (run.lifecycle_stage, run.run_id))
        return [run.run_id for run in runs]


@cache
def open_store(settings: TrackingSettings) -> RunStore:
    """Return the store of these settings, the same one each time."""
    return RunStore(settings)


def _batches(entries: Iterable[Any], size: int) -> Iterator[list[Any]]:
    remaining = iter(entries)
    while batch := list(itertools.islice(remaining, size)):
        yield batch

"""MLflow runs, through its client alone: no global state, and everything in batches that it accepts."""

import itertools
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bdpo_pipeline.tracking.metric_queue import MetricQueue
from bdpo_pipeline.tracking.settings import TrackingSettings

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric

_METRICS_PER_BATCH = 1000
_ENTRIES_PER_BATCH = 100
_REACHABLE_SECONDS = 3.0
# MLflow's own patience (seven tries of two minutes each) would hold up a run for a server that is gone.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class RunStore:
    """Creates, fills and ends the runs of one experiment.

    Args:
        settings: with absolute paths.

    Raises:
        OSError: the server does not answer.
        mlflow.exceptions.MlflowException: it answers, and refuses.
    """

    def __init__(self, settings: TrackingSettings) -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        if settings.is_server:
            _check_reachable(settings.tracking_uri)
        elif settings.tracking_uri.startswith("sqlite:///"):
            Path(settings.tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        from mlflow import MlflowClient

        self.settings = settings
        self.client = MlflowClient(settings.tracking_uri, settings.tracking_uri)
        self.experiment_id = self._experiment()
        self._queue: MetricQueue[Metric] = MetricQueue(self._send_metrics)

    def start_run(self, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
        """Return the id of a new run, nested under ``parent`` if given."""
        nesting = {"mlflow.parentRunId": parent} if parent else {}
        run = self.client.create_run(self.experiment_id, tags={**tags, **nesting}, run_name=name)
        return str(run.info.run_id)

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

    def log_metrics(self, run: str, points: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Record metrics, given as (step, values by name)."""
        self._send_metrics(run, _metrics(points))

    def log_metrics_later(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Hand metrics to a background thread: a slow server must not slow the training. See `flush`."""
        self._queue.put(run, list(_metrics([(step, values)])))

    def flush(self) -> None:
        """Wait until all that was handed over is recorded, and raise what went wrong with it."""
        self._queue.flush()

    def log_inputs(self, run: str, datasets: list["DatasetInput"]) -> None:
        """Record data sets that the run used."""
        if datasets:
            self.client.log_inputs(run, datasets=datasets)

    def log_file(self, run: str, path: str, folder: str | None = None) -> None:
        """Copy a small file to the run."""
        self.client.log_artifact(run, path, folder)

    def log_json(self, run: str, content: Any, name: str) -> None:
        """Write a JSON file into the run."""
        self.client.log_dict(run, content, name)

    def log_text(self, run: str, content: str, name: str) -> None:
        """Write a text file into the run."""
        self.client.log_text(run, content, name)

    def end_run(self, run: str, status: str) -> None:
        """End a run as FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run, status)

    def where(self, run: str) -> str:
        """Return how a person gets to see a run: an address, or the command that serves it."""
        page = f"#/experiments/{self.experiment_id}/runs/{run}"
        if self.settings.is_server:
            return f"{self.settings.public_uri.rstrip('/')}/{page}"
        return f"mlflow server --backend-store-uri {self.settings.public_uri}  (then http://127.0.0.1:5000/{page})"

    def _send_metrics(self, run: str, metrics: Iterable["Metric"]) -> None:
        for batch in _batches(metrics, _METRICS_PER_BATCH):
            self.client.log_batch(run, metrics=batch)

    def _experiment(self) -> str:
        name = self.settings.experiment
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        location = None if self.settings.is_server else self.settings.artifact_location
        return str(self.client.create_experiment(name, artifact_location=location))


def _check_reachable(uri: str) -> None:
    parts = urlsplit(uri)
    if parts.hostname is None:
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    socket.create_connection((parts.hostname, port), timeout=_REACHABLE_SECONDS).close()


def _metrics(points: Iterable[tuple[int, Mapping[str, float]]]) -> Iterator[Any]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    for step, values in points:
        for name, value in values.items():
            yield Metric(name, value, now, step)


def _batches(entries: Iterable[Any], size: int) -> Iterator[list[Any]]:
    remaining = iter(entries)
    while batch := list(itertools.islice(remaining, size)):
        yield batch

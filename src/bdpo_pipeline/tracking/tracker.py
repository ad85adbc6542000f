"""One Kedro session in MLflow: a parent run, and a child run for each stage that has curves or scores."""

import dataclasses
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kedro.io import CatalogProtocol
from kedro.io.core import is_parameter
from kedro.pipeline.node import Node

from bdpo_pipeline.lineage.artifacts import (
    Artifact,
    artifact_not_after,
    loaded_artifact,
    record_path,
    saved_artifact,
)
from bdpo_pipeline.lineage.parameter_names import flatten, redact
from bdpo_pipeline.tracking.dataset_inputs import source_input, table_input
from bdpo_pipeline.tracking.journal import Journal
from bdpo_pipeline.tracking.metrics import curve_point, history_points, summary_metrics, table_metrics
from bdpo_pipeline.tracking.model_registration import TrainedAdapter

logger = logging.getLogger(__name__)

TRAINING = "training"
_BASE_FACTS = ("name", "revision", "weights_sha256")
# What each table of pairs is to the training run.
PAIR_TABLES = {"training_pairs": "training", "validation_pairs": "validation", "heldout_pairs": "evaluation"}
SCORE_TABLES = {
    "heldout_metrics": ("heldout", ("slice",)),
    "safety_metrics": ("safety", ("prompt_set", "model", "judge")),
}


@dataclass
class Stage:
    """A run while it is open: what its nodes used and made, and which outputs are still to come."""

    run: str
    name: str
    to_come: set[tuple[str, str]] = field(default_factory=set)
    inputs: dict[str, Artifact] = field(default_factory=dict)
    outputs: dict[str, Artifact] = field(default_factory=dict)
    logged: set[tuple[str, int]] = field(default_factory=set)
    dtype: str = "float32"
    quantisation: str | None = None


class Tracker:
    """Records one session in its journal.

    Args:
        journal: that of the session.
        catalog: catalog of the session.
        session: id of the session, which is also the version of what it saves.
        tags: what every run of the session carries, such as the commit.
        stages: for each stage (``training``, ``evaluation``, or ``<arm>.training``) its nodes in this run.
    """

    def __init__(
        self,
        journal: Journal,
        catalog: CatalogProtocol[str, Any],
        session: str,
        tags: Mapping[str, str],
        stages: Mapping[str, Iterable[Node]],
    ) -> None:
        self._journal = journal
        self._catalog = catalog
        self._tags = dict(tags)
        self._session = session
        self._nodes = {name: list(nodes) for name, nodes in stages.items()}
        self._stage_names = {node.name: name for name, nodes in self._nodes.items() for node in nodes}
        self._parent = Stage(journal.start_run(session, self._tags), "session")
        self._stages: dict[str, Stage] = {}
        self._running: Stage | None = None
        self._loaded: dict[str, Artifact] = {}

    @property
    def run(self) -> str:
        """Id of the session's run in the journal."""
        return self._parent.run

    def log_environment(
        self, run_params: Mapping[str, Any], machine: Mapping[str, str], packages: Mapping[str, str]
    ) -> None:
        """Record what Kedro was asked for, machine and packages with the session's run."""
        self._journal.log_json(self._parent.run, redact("run_params", run_params), "run_params.json")
        self._journal.set_tags(self._parent.run, machine)
        listing = "".join(f"{name}=={version}\n" for name, version in packages.items())
        self._journal.log_text(self._parent.run, listing, "packages.txt")

    def log_parameters(self, names: Iterable[str]) -> None:
        """Record parameters (catalog names such as ``params:training``) with the session's run."""
        self._journal.log_parameters(self._parent.run, self._flat(names))

    def node_started(self, node: Node) -> None:
        """Open the node's stage if it is its first, and record what the node uses."""
        names = [name for name in node.inputs if not is_parameter(name)]
        used = {name: artifact for name in names if (artifact := self._used(name)) is not None}
        own = self._parent.outputs
        self._parent.inputs.update({name: artifact for name, artifact in used.items() if name not in own})
        stage_name = self._stage_names.get(node.name)
        self._running = None
        if stage_name is None:
            return
        self._running = stage = self._stages.get(stage_name) or self._open(stage_name)
        self._journal.log_parameters(stage.run, self._flat(filter(is_parameter, node.inputs)))
        fresh = {name: artifact for name, artifact in used.items() if name not in stage.inputs}
        stage.inputs.update({name: artifact for name, artifact in fresh.items() if name not in stage.outputs})
        if _plain(stage_name) == TRAINING and fresh:
            self._log_training_data(stage, fresh)

    def live(self, event: Mapping[str, Any]) -> None:
        """Record a point of the curves while the worker runs."""
        stage = self._running
        if stage is None or event["event"] != "metrics":
            return
        point = curve_point(event["split"], event["values"])
        self._journal.log_metrics(stage.run, [(event["step"], point)])
        stage.logged.update((name, event["step"]) for name in point)

    def node_ended(self, node: Node) -> None:
        """Make sure that the curves are on disk."""
        if node.name in self._stage_names:
            self._journal.sync()

    def saved(self, name: str, data: Any, node: Node) -> None:
        """Record an output of a node: where it is, its hash, and the numbers in it."""
        stage = self._stages.get(self._stage_names.get(node.name, ""))
        owner = stage or self._parent
        artifact = saved_artifact(self._catalog, name)
        if artifact is not None:
            self._parent.outputs[name] = artifact
            owner.outputs[name] = artifact
            path, arm = Path(artifact.path), name.rpartition(".")[0]
            if artifact.is_readable:
                self._journal.log_file(owner.run, path, arm or None)
            record = record_path(path)
            if record.exists():
                self._journal.log_file(owner.run, record, "lineage", f"{name}.lineage.json")
        self._log_content(owner, _plain(name), data)
        if stage is not None:
            stage.to_come.discard((node.name, name))
            if not stage.to_come:
                self._finish(stage)

    def end(self, status: str, error: BaseException | None = None) -> None:
        """End all runs that are open.

        Args:
            status: FINISHED, FAILED or KILLED.
            error: what stopped the session; its first line becomes a tag.
        """
        tags = (
            {"error": f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"} if error else {}
        )
        for stage in [*self._stages.values(), self._parent]:
            self._journal.set_tags(stage.run, tags)
            self._close(stage, status)
        self._stages.clear()

    def _open(self, name: str) -> Stage:
        stage = Stage(self._journal.start_run(name, self._tags, parent=self._parent.run), name)
        stage.to_come = {(node.name, output) for node in self._nodes[name] for output in node.outputs}
        self._stages[name] = stage
        return stage

    def _finish(self, stage: Stage) -> None:
        adapters = [artifact for name, artifact in stage.outputs.items() if _plain(name) == "adapter"]
        for adapter in adapters:
            self._register(stage, adapter)
        self._close(stage, "FINISHED")
        del self._stages[stage.name]

    def _close(self, stage: Stage, status: str) -> None:
        record = {
            "session": self._session,
            "inputs": [artifact.as_dict() for artifact in stage.inputs.values()],
            "outputs": [artifact.as_dict() for artifact in stage.outputs.values()],
        }
        self._journal.log_json(stage.run, record, "artifacts.json")
        self._journal.end_run(stage.run, status)

    def _register(self, stage: Stage, adapter: Artifact) -> None:
        base_model = self._used("base_model")
        if base_model is None:
            logger.warning(
                "The adapter is not registered as a model: the catalog has no base_model to name its base."
            )
            return
        tags = {**self._tags, "adapter.sha256": adapter.sha256, "adapter.version": str(adapter.version)}
        facts = json.loads(Path(base_model.path).read_text(encoding="utf-8"))
        tags |= {f"base_model.{key}": str(facts[key]) for key in _BASE_FACTS if facts[key]}
        trained = TrainedAdapter(adapter.path, base_model.path, stage.dtype, stage.quantisation)
        self._journal.register(stage.run, dataclasses.asdict(trained), tags)

    def _log_content(self, owner: Stage, kind: str, data: Any) -> None:
        run = owner.run
        if kind == "training_history":
            points = (
                (step, {name: value for name, value in point.items() if (name, step) not in owner.logged})
                for _, step, point in history_points(data)
            )
            self._journal.log_metrics(run, points)
        elif kind == "training_summary":
            self._journal.log_metrics(run, [(0, summary_metrics(data, "summary"))])
            texts = {
                f"summary.{name}": value for name, value in data.items() if isinstance(value, str | bool)
            }
            self._journal.set_tags(run, {name: str(value) for name, value in texts.items()})
            owner.dtype = data.get("dtype", owner.dtype)
            owner.quantisation = data.get("quantisation")
        elif kind in SCORE_TABLES:
            prefix, keys = SCORE_TABLES[kind]
            self._journal.log_metrics(run, [(0, table_metrics(data, prefix, keys))])
        elif kind == "ingestion_summary":
            self._journal.log_inputs(run, [source_input(source, "raw") for source in data])

    def _log_training_data(self, stage: Stage, used: Mapping[str, Artifact]) -> None:
        """Record the tables that training reads, and the pairs and raw sources that they were made from."""
        newest = max(
            (artifact.version for artifact in used.values() if artifact.version), default=self._session
        )
        tables = {name: "training" for name, artifact in used.items() if artifact.path.endswith(".parquet")}
        found = []
        for name, context in {**tables, **PAIR_TABLES}.items():
            artifact = used.get(name) or self._made_before(name, newest)
            if artifact is not None:
                found.append(table_input(artifact, context))
        summary = self._made_before("ingestion_summary", newest)
        if summary is not None:
            sources = json.loads(Path(summary.path).read_text(encoding="utf-8"))
            found += [source_input(source, "raw") for source in sources]
        self._journal.log_inputs(stage.run, found)

    def _used(self, name: str) -> Artifact | None:
        if name in self._parent.outputs:
            return self._parent.outputs[name]
        if name not in self._loaded:
            artifact = loaded_artifact(self._catalog, name)
            if artifact is None:
                return None
            self._loaded[name] = artifact
        return self._loaded[name]

    def _made_before(self, name: str, newest: str) -> Artifact | None:
        return self._parent.outputs.get(name) or artifact_not_after(self._catalog, name, newest)

    def _flat(self, names: Iterable[str]) -> dict[str, str]:
        flat: dict[str, str] = {}
        for name in names:
            dataset = self._catalog.get(name)
            if dataset is None:
                continue  # Kedro itself stops the run for it, and says so
            value = dataset.load()
            groups = value if name == "parameters" else {name.removeprefix("params:"): value}
            for group, inner in groups.items():
                flat |= flatten(group, inner)
        return flat


def _plain(name: str) -> str:
    """Return a name without the arm that stands before it."""
    return name.rpartition(".")[2]

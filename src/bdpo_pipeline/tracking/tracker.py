"""One Kedro session in MLflow: a parent run, and a child run for each stage that has curves or scores."""

import dataclasses
import json
import logging
from collections.abc import Iterable, Mapping
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
from bdpo_pipeline.lineage.parameter_names import redact
from bdpo_pipeline.tracking.content import (
    SETTLED,
    Stage,
    has_content,
    log_content,
    log_metrics,
    log_parameters,
)
from bdpo_pipeline.tracking.dataset_inputs import source_input, table_input
from bdpo_pipeline.tracking.journal import Journal
from bdpo_pipeline.tracking.metrics import curve_point
from bdpo_pipeline.tracking.model_registration import TrainedAdapter
from bdpo_pipeline.tracking.stages import StageSpec

logger = logging.getLogger(__name__)

_BASE_FACTS = ("name", "revision", "weights_sha256")
# What each table of pairs is to the training run.
PAIR_TABLES = {"training_pairs": "training", "validation_pairs": "validation", "heldout_pairs": "evaluation"}


class Tracker:
    """Records one session in its journal.

    Args:
        journal: that of the session.
        catalog: catalog of the session.
        session: id of the session, which is also the version of what it saves.
        tags: what every run of the session carries, such as the commit.
        stages: whose nodes share runs of their own.
    """

    def __init__(
        self,
        journal: Journal,
        catalog: CatalogProtocol[str, Any],
        session: str,
        tags: Mapping[str, str],
        stages: Iterable[StageSpec],
    ) -> None:
        self._journal = journal
        self._catalog = catalog
        self._tags = dict(tags)
        self._session = session
        self._specs = {node.name: spec for spec in stages for node in spec.nodes}
        self._parent = Stage(journal.start_run(session, self._tags), StageSpec("session", None))
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
        log_parameters(self._journal, self._parent, self._values(names))

    def node_started(self, node: Node) -> None:
        """Open the node's stage if it is its first, and record what the node uses."""
        names = [name for name in node.inputs if not is_parameter(name)]
        used = {name: artifact for name in names if (artifact := self._used(name)) is not None}
        own = self._parent.outputs
        self._parent.inputs.update({name: artifact for name, artifact in used.items() if name not in own})
        spec = self._specs.get(node.name)
        self._running = None
        if spec is None:
            return
        self._running = stage = self._stages.get(spec.name) or self._open(spec)
        log_parameters(self._journal, stage, self._values(filter(is_parameter, node.inputs)))
        fresh = {name: artifact for name, artifact in used.items() if name not in stage.inputs}
        stage.inputs.update({name: artifact for name, artifact in fresh.items() if name not in stage.outputs})
        if fresh and any(_plain(name) == "training_history" for name in node.outputs):
            self._log_training_data(stage, fresh)
        elif spec.is_arm:
            self._log_tables(stage, fresh, _plain(node.name))
        if spec.is_arm:
            self._log_settled(stage, fresh)
            self._continue(stage, fresh)

    def live(self, event: Mapping[str, Any]) -> None:
        """Record a point of the curves while the worker runs."""
        if self._running is not None and event["event"] == "metrics":
            point = curve_point(event["split"], event["values"])
            log_metrics(self._journal, self._running, [(event["step"], point)])

    def node_ended(self, node: Node) -> None:
        """Make sure that the curves are on disk."""
        if node.name in self._specs:
            self._journal.sync()

    def saved(self, name: str, data: Any, node: Node) -> None:
        """Record an output of a node: where it is, its hash, and the numbers in it."""
        spec = self._specs.get(node.name)
        stage = self._stages.get(spec.name) if spec is not None else None
        owner = stage or self._parent
        artifact = saved_artifact(self._catalog, name)
        if artifact is not None:
            self._parent.outputs[name] = artifact
            owner.outputs[name] = artifact
            path, namespace = Path(artifact.path), name.rpartition(".")[0]
            if artifact.is_readable:
                own = namespace == owner.spec.namespace
                self._journal.log_file(owner.run, path, None if own else namespace or None)
            record = record_path(path)
            if record.exists():
                self._journal.log_file(owner.run, record, "lineage", f"{name}.lineage.json")
        log_content(self._journal, owner, _plain(name), data)
        if stage is not None:
            stage.to_come.discard((node.name, name))
            if not stage.spec.is_trial and stage.to_come.isdisjoint((node.name, o) for o in node.outputs):
                self._register(stage, node)
            if not stage.to_come:
                self._close(stage, "FINISHED")
                del self._stages[stage.spec.name]

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

    def _open(self, spec: StageSpec) -> Stage:
        run = self._journal.start_run(spec.name, {**self._tags, **spec.tags}, parent=self._parent.run)
        stage = Stage(run, spec, {(node.name, output) for node in spec.nodes for output in node.outputs})
        self._stages[spec.name] = stage
        return stage

    def _close(self, stage: Stage, status: str) -> None:
        record = {
            "session": self._session,
            "inputs": [artifact.as_dict() for artifact in stage.inputs.values()],
            "outputs": [artifact.as_dict() for artifact in stage.outputs.values()],
        }
        self._journal.log_json(stage.run, record, "artifacts.json")
        self._journal.end_run(stage.run, status)

    def _register(self, stage: Stage, node: Node) -> None:
        """Register the adapter of a node whose outputs are saved, if it made one."""
        adapter = next((stage.outputs.get(name) for name in node.outputs if _plain(name) == "adapter"), None)
        if adapter is None:
            return
        base_model = self._used("base_model")
        if base_model is None:
            logger.warning(
                "The adapter is not registered as a model: the catalog has no base_model to name its base."
            )
            return
        tags = {
            **self._tags,
            **stage.spec.tags,
            "adapter.sha256": adapter.sha256,
            "adapter.version": str(adapter.version),
        }
        facts = json.loads(Path(base_model.path).read_text(encoding="utf-8"))
        tags |= {f"base_model.{key}": str(facts[key]) for key in _BASE_FACTS if facts[key]}
        trained = TrainedAdapter(adapter.path, base_model.path, stage.dtype, stage.quantisation)
        self._journal.register(stage.run, dataclasses.asdict(trained), tags)

    def _log_tables(self, stage: Stage, used: Mapping[str, Artifact], context: str) -> None:
        """Record the tables that a node of an arm takes from elsewhere."""
        tables = [
            artifact
            for name, artifact in used.items()
            if name.rpartition(".")[0] != stage.spec.namespace and artifact.path.endswith(".parquet")
        ]
        self._journal.log_inputs(stage.run, [table_input(artifact, context) for artifact in tables])

    def _log_settled(self, stage: Stage, used: Iterable[str]) -> None:
        """Record as parameters what the study itself has decided for an arm."""
        for name in used:
            if _plain(name) in SETTLED:
                log_parameters(self._journal, stage, {_plain(name): self._catalog.load(name)})

    def _continue(self, stage: Stage, used: Mapping[str, Artifact]) -> None:
        """Name the earlier sessions that an arm goes on from, and record again what they found out."""
        earlier = {
            name: artifact.version
            for name, artifact in used.items()
            if name.rpartition(".")[0] == stage.spec.namespace
            and artifact.version not in (None, self._session)
        }
        if earlier:
            stage.sessions |= {str(version) for version in earlier.values()}
            self._journal.set_tags(stage.run, {"continues": ", ".join(sorted(stage.sessions))})
            self._log_again(stage, set(earlier))

    def _log_again(self, stage: Stage, used: set[str]) -> None:
        """Log what nodes of earlier sessions found out, so that the newest run of an arm has all of what it stands on."""
        for node in stage.spec.nodes:
            if used.isdisjoint(node.outputs) or not stage.outputs.keys().isdisjoint(node.outputs):
                continue
            if node.name in stage.continued:
                continue
            stage.continued.add(node.name)
            for name in node.outputs:
                if has_content(_plain(name)) and self._used(name) is not None:
                    log_content(self._journal, stage, _plain(name), self._catalog.load(name))
            self._log_again(stage, set(node.inputs))

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

    def _values(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the values of parameters by their names without ``params:``."""
        values: dict[str, Any] = {}
        for name in names:
            dataset = self._catalog.get(name)
            if dataset is None:
                continue  # Kedro itself stops the run for it, and says so
            value = dataset.load()
            values |= value if name == "parameters" else {name.removeprefix("params:"): value}
        return values


def _plain(name: str) -> str:
    """Return a name without the arm that stands before it."""
    return name.rpartition(".")[2]

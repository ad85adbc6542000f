"""One session's records: written beside every artifact; what is loaded is checked against them, and the same bytes are kept once."""

import datetime
import logging
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedro.io import CatalogProtocol
from kedro.io.core import is_parameter
from kedro.pipeline.node import Node

from bdpo_pipeline.durable import write_whole
from bdpo_pipeline.engine.events import Event, subscribe
from bdpo_pipeline.files_read import noting_files
from bdpo_pipeline.lineage.artifacts import (
    files_of,
    loaded_path,
    path_before,
    record_path,
    saved_artifact,
)
from bdpo_pipeline.lineage.recipe import RecipeBook
from bdpo_pipeline.lineage.record import (
    AlteredRecordError,
    Ingredient,
    Made,
    Record,
    read_record,
    to_json,
)
from bdpo_pipeline.lineage.session_facts import SessionFacts
from bdpo_pipeline.lineage.storing import link_alike

logger = logging.getLogger(__name__)


class AlteredArtifactError(ValueError):
    """An artifact is not what the run that made it wrote."""


@dataclass(frozen=True)
class _Noted:
    """What a node does while it runs: files that it reads, worker jobs that it starts."""

    stack: ExitStack
    files: dict[str, Path]
    jobs: list[dict[str, Any]]


class SessionRecorder:
    """Writes the records of one session.

    Args:
        catalog: of the session.
        facts: what every record carries.
        nodes: that are to run.
    """

    def __init__(
        self, catalog: CatalogProtocol[str, Any], facts: SessionFacts, nodes: Iterable[Node]
    ) -> None:
        self._catalog = catalog
        self._facts = facts
        self._book = RecipeBook(catalog)
        self._book.read_code(nodes)
        self._noting: dict[str, _Noted] = {}
        self._made: dict[str, Made] = {}
        self._in_memory: dict[str, Made] = {}

    def check(self, name: str, node: Node) -> None:
        """Compare what a node is to load with its record.

        Raises:
            AlteredArtifactError: it is not what was saved.
        """
        path = loaded_path(self._catalog.get(name))
        if path is None:
            return
        record = read_record(path)
        if record is not None and record.sha256 != self._book.hashes.of_artifact(path):
            raise AlteredArtifactError(
                f"{name}, which {node.name} is to load from {path}, is not what was saved there on {record.time}: "
                f"SHA-256 {self._book.hashes.of_artifact(path)[:12]}…, recorded {record.sha256[:12]}…. Remove this version to use the "
                "one before, or make it again by running the pipeline that makes it; `kedro lineage verify` looks at everything"
            )

    def start(self, node: Node) -> None:
        """Note from here on what the node reads and which jobs it runs."""
        self._warn_of_mixture(node)
        stack, jobs = ExitStack(), []

        def note_job(event: Event) -> None:
            if event["event"] == "ran":
                jobs.append({name: value for name, value in event.items() if name != "event"})

        stack.callback(subscribe(note_job))
        self._noting[node.name] = _Noted(stack, stack.enter_context(noting_files()), jobs)

    def stop(self, node: Node) -> "_Noted":
        """Stop noting."""
        noted = self._noting.pop(node.name)
        noted.stack.close()
        return noted

    def finish(self, node: Node) -> None:
        """Write down how the node made what it is about to save."""
        noted = self.stop(node)
        recipe = self._book.recipe(node, noted.files)
        self._book.made(node, recipe)
        names = [name for name in node.inputs if not is_parameter(name)]
        made = Made(
            node=node.name,
            recipe=recipe,
            inputs={name: found for name in names if (found := self._ingredient(name)) is not None},
            files={name: str(path) for name, path in noted.files.items()},
            in_memory={name: self._in_memory[name] for name in names if name in self._in_memory},
            jobs=noted.jobs,
        )
        self._made[node.name] = made
        for name in node.outputs:
            if loaded_path(self._catalog.get(name)) is None:
                self._in_memory[name] = made

    def saved(self, name: str, node: Node) -> None:
        """Write the record of an output, and link its files to the same bytes of the version before."""
        artifact = saved_artifact(self._catalog, name)
        if artifact is None:
            return
        self._in_memory.pop(name, None)
        path = Path(artifact.path)
        files = {
            file.relative_to(path).as_posix() if path.is_dir() else path.name: self._book.hashes.of_file(file)
            for file in files_of(path)
        }
        before = path_before(self._catalog, name, artifact.version)
        record_before = _readable_record(before)
        if before is not None and record_before is not None:
            link_alike(path, before, files, record_before.files)
        record = Record(
            name=name,
            path=artifact.path,
            version=artifact.version,
            sha256=artifact.sha256,
            bytes=artifact.bytes,
            files=files,
            made=self._made[node.name],
            session=self._facts.session,
            code=self._facts.code,
            machine=self._facts.machine,
            packages=self._facts.packages,
            tracking=self._facts.tracking,
            time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )
        write_whole(record_path(path), to_json(record))

    def _warn_of_mixture(self, node: Node) -> None:
        """Say so where an input was made from another version of another input than the one that the node uses."""
        paths = {
            name: path for name in node.inputs if (path := loaded_path(self._catalog.get(name))) is not None
        }
        for name, path in paths.items():
            record = _readable_record(path)
            for other, ingredient in record.made.every_ingredient() if record is not None else ():
                if other in paths and ingredient.sha256 != self._book.hashes.of_artifact(paths[other]):
                    logger.warning(
                        "%s uses %s, which was made from %s of %s, together with another %s (%s). If that is not meant, run the "
                        "pipeline that makes %s again",
                        *(node.name, name, other, ingredient.version, other, paths[other].parent.name, name),
                    )

    def _ingredient(self, name: str) -> Ingredient | None:
        dataset = self._catalog.get(name)
        path = loaded_path(dataset)
        if path is None:
            return None
        record = read_record(path)
        version = path.parent.name if getattr(dataset, "_version", None) else None
        return Ingredient(
            str(path), version, self._book.hashes.of_artifact(path), record.seal if record else None
        )


def _readable_record(path: Path | None) -> Record | None:
    """Return a record, None where there is none to go by; `check` and `kedro lineage verify` find the altered ones."""
    try:
        return read_record(path) if path is not None else None
    except AlteredRecordError:
        return None

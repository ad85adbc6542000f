"""Why a node must run again: what differs between the recipe of its outputs, as recorded, and the one that it would have now."""

from pathlib import Path
from typing import Any

from kedro.io import CatalogProtocol, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from bdpo_pipeline.lineage.artifacts import loaded_path
from bdpo_pipeline.lineage.recipe import Recipe, RecipeBook, differences
from bdpo_pipeline.lineage.record import AlteredRecordError, Made, Record, read_record


class Freshness:
    """Compares the nodes of a session with the records of what they made before.

    Args:
        pipeline: whose nodes are asked about.
        catalog: of the session.
    """

    def __init__(self, pipeline: Pipeline, catalog: CatalogProtocol[str, Any]) -> None:
        self._catalog = catalog
        self._book = RecipeBook(catalog)
        self._makers = {name: node for node in pipeline.nodes for name in node.outputs}

    def kept(self, node: Node) -> list[str]:
        """Return the outputs of a node that are kept beyond the session."""
        return [name for name in node.outputs if not self.is_in_memory(name)]

    def is_in_memory(self, name: str) -> bool:
        """Whether a data set is a node's output that only lives as long as the session."""
        return name in self._makers and isinstance(self._catalog.get(name), MemoryDataset)

    def makers(self, node: Node) -> dict[str, Node]:
        """Return the nodes of the pipeline that make the inputs of a node, by input."""
        return {name: self._makers[name] for name in node.inputs if name in self._makers}

    def version(self, node: Node) -> str:
        """Return in words which version of its outputs a fresh node would make."""
        records = [self._look(name)[0] for name in self.kept(node)]
        versions = {record.version for record in records if record is not None}
        return ", ".join(sorted(f"version {version}" if version else "unversioned" for version in versions))

    def reasons(self, node: Node) -> list[str]:
        """Return why a node must run, causes first; none if what it would make is there.

        Of a node that keeps no output there is nothing to compare: it runs where somebody needs what it makes.
        """
        if not node.outputs:
            return ["it has no outputs, so nothing tells what it did"]
        found = {name: self._look(name) for name in self.kept(node)}
        problems = [problem for _, problem in found.values() if problem]
        records = {name: record for name, (record, _) in found.items() if record is not None}
        if len({record.session["run_id"] for record in records.values()}) > 1:
            problems.append(f"its outputs {', '.join(records)} are not of one run")
        changes = [change for record in records.values() for change in self._compare(node, record.made)[1]]
        return list(dict.fromkeys([*changes, *problems]))

    def _look(self, name: str) -> tuple[Record | None, str | None]:
        """Return the record of an output, if it can be read, and what is wrong with the output."""
        path = loaded_path(self._catalog.get(name))
        if path is None or not path.exists():
            return None, f"its output {name} is missing"
        try:
            record = read_record(path)
        except AlteredRecordError:
            return None, f"the record of its output {name} was altered"
        if record is None:
            return None, f"its output {name} has no record of what it was made from"
        is_altered = record.sha256 != self._book.hashes.of_artifact(path)
        return record, f"its output {name} was altered" if is_altered else None

    def _compare(self, node: Node, then: Made | None) -> tuple[Recipe, list[str]]:
        """Return the recipe of a node now, and in words what differs from then.

        Where an input that only lives in memory would be made in another way, what differs there is said in its place.
        """
        behind = {}
        for name, maker in self.makers(node).items():
            if self.is_in_memory(name):
                recipe, changes = self._compare(maker, then.in_memory.get(name) if then else None)
                self._book.made(maker, recipe)
                behind[f"{name} changed"] = [f"{change}, by way of {name}" for change in changes]
        now = self._book.recipe(node, {name: Path(path) for name, path in then.files.items()} if then else {})
        found = differences(then.recipe, now) if then else []
        return now, [cause for change in found for cause in behind.get(change) or [change]]

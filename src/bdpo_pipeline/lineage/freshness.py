"""Why a node must run again: what differs between the recipe of its outputs, as recorded, and the one that it would have now."""

from collections.abc import Iterator, Mapping
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
        records = [self._record(name) for name in self.kept(node)]
        versions = {record.version for record in records if isinstance(record, Record)}
        return ", ".join(sorted(f"version {version}" if version else "unversioned" for version in versions))

    def reasons(self, node: Node) -> list[str]:
        """Return why a node must run, causes first; none if what it would make is there.

        Of a node that keeps no output there is nothing to compare: it runs where somebody needs what it makes.
        """
        if not node.outputs:
            return ["it has no outputs, so nothing tells what it did"]
        problems, records = [], {}
        for name in self.kept(node):
            found = self._record(name)
            if isinstance(found, str):
                problems.append(found)
            else:
                records[name] = found
        changes = [change for record in records.values() for change in self._changes(node, record.made)]
        if len({record.session["run_id"] for record in records.values()}) > 1:
            problems.append(f"its outputs {', '.join(records)} are not of one run")
        return list(dict.fromkeys([*changes, *problems]))

    def _record(self, name: str) -> Record | str:
        """Return the record of an output, or what is wrong with the output."""
        path = self._path(name)
        if path is None or not path.exists():
            return f"its output {name} is missing"
        try:
            record = read_record(path)
        except AlteredRecordError:
            return f"the record of its output {name} was altered"
        if record is None:
            return f"its output {name} has no record of what it was made from"
        if record.sha256 != self._book.hashes.of_artifact(path):
            return f"its output {name} was altered"
        return record

    def _changes(self, node: Node, then: Made) -> Iterator[str]:
        behind = self._settle_memory(node, then.in_memory)
        now = self._book.recipe(node, _paths(then))
        for change in differences(then.recipe, now):
            name = change.removesuffix(" changed")
            made = then.in_memory.get(name)
            if made is not None and name in behind:
                yield from (f"{cause}, by way of {name}" for cause in differences(made.recipe, behind[name]))
            else:
                yield change

    def _settle_memory(self, node: Node, then: Mapping[str, Made]) -> dict[str, Recipe]:
        """Tell the book by which recipes the inputs that are not kept would be made now; return these."""
        recipes = {}
        for name, maker in self.makers(node).items():
            if self.is_in_memory(name):
                made = then.get(name)
                self._settle_memory(maker, made.in_memory if made else {})
                recipes[name] = self._book.recipe(maker, _paths(made) if made else {})
                self._book.made(maker, recipes[name])
        return recipes

    def _path(self, name: str) -> Path | None:
        return loaded_path(self._catalog.get(name))


def _paths(made: Made) -> dict[str, Path]:
    return {name: Path(path) for name, path in made.files.items()}

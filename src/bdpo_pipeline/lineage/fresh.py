"""A Kedro runner that runs exactly the nodes whose code, parameters or inputs changed, and says why for each.

``kedro run --runner bdpo_pipeline.lineage.fresh.FreshRunner``, with any of Kedro's options; docs/fresh_runs.md.
"""

import logging
from collections.abc import Callable
from typing import Any

from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.runner import SequentialRunner, Task
from pluggy import PluginManager

from bdpo_pipeline.lineage.freshness import Freshness

logger = logging.getLogger(__name__)


class FreshRunner(SequentialRunner):
    """Runs a node if and only if one of its outputs is not what it would make now.

    What counts is content: where a node runs and makes the same bytes as before, what comes after it does not run. Outputs that are
    kept in memory only are made when a node that runs needs them.
    """

    # Kedro documents `_run` as what a runner of one's own overrides; tests/lineage/test_fresh.py watches its signature and Task's.
    def _run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol[str, Any],
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
    ) -> None:
        def execute(node: Node) -> None:
            Task(
                node=node,
                catalog=catalog,
                is_async=self._is_async,
                hook_manager=hook_manager,
                run_id=run_id,
            ).execute()

        _Session(pipeline, catalog, execute).run()


class _Session:
    def __init__(
        self, pipeline: Pipeline, catalog: CatalogProtocol[str, Any], execute: Callable[[Node], None]
    ) -> None:
        self._pipeline = pipeline
        self._catalog = catalog
        self._execute = execute
        self._freshness = Freshness(pipeline, catalog)
        self._done: set[Node] = set()
        self._settled: set[Node] = set()

    def run(self) -> None:
        """Bring every node to where it stands as if it had run now.

        Raises:
            Exception: what a node raises; what ran before it is done and will be fresh.
        """
        nodes = self._pipeline.nodes
        for number, node in enumerate(nodes, 1):
            reasons = self._freshness.reasons(node) or self._wanted(node)
            if reasons:
                self._bring(node, reasons)
                logger.info("done: %s, %d of %d nodes", node.name, number, len(nodes))
            elif self._freshness.kept(node):
                logger.info("fresh: %s (%s)", node.name, self._freshness.version(node))
            self._settled.add(node)
            self._release()
        ran = [node.name for node in nodes if node in self._done]
        logger.info("%d of %d nodes ran%s", len(ran), len(nodes), f": {', '.join(ran)}" if ran else "")

    def _bring(self, node: Node, reasons: list[str]) -> None:
        """Run a node, and before it those that make what it needs in memory."""
        for name, maker in self._freshness.makers(node).items():
            if maker not in self._done and self._freshness.is_in_memory(name):
                self._bring(maker, [_need(node, name)])
        logger.info("runs: %s, because %s", node.name, "; ".join(reasons))
        self._execute(node)
        self._done.add(node)

    def _wanted(self, node: Node) -> list[str]:
        """Return who needs of a fresh node what it only makes in memory.

        A node that keeps nothing else waits until one that needs it runs. One that also keeps outputs runs at once where a later one
        may need it: those outputs may be others then, and between the two are nodes that load them.
        """
        lives = [name for name in node.outputs if self._freshness.is_in_memory(name)]
        returned = [name for name in lives if name in self._pipeline.outputs()]
        reasons = [f"its output {name} is what the run returns" for name in returned]
        if self._freshness.kept(node):
            later = [other for other in self._pipeline.nodes if not set(lives).isdisjoint(other.inputs)]
            needed = [(other, name) for other in later for name in lives if name in other.inputs]
            reasons += [_need(other, name) for other, name in needed if self._may_run(other, node)]
        return reasons

    def _may_run(self, node: Node, fresh: Node) -> bool:
        undecided = set(self._freshness.makers(node).values()) - self._settled - {fresh}
        return any(self._may_run(maker, fresh) for maker in undecided) or bool(self._freshness.reasons(node))

    def _release(self) -> None:
        """Let go of what is in memory and nobody to come may ask for."""
        for node in self._done:
            for name in node.outputs:
                if self._freshness.is_in_memory(name) and not self._may_be_asked_for(name):
                    self._catalog.release(name)

    def _may_be_asked_for(self, name: str) -> bool:
        users = [node for node in self._pipeline.nodes if name in node.inputs]
        idle = [node for node in users if node not in self._done and not self._freshness.kept(node)]
        return (
            name in self._pipeline.outputs()
            or not self._settled.issuperset(users)
            or any(self._may_be_asked_for(output) for node in idle for output in node.outputs)
        )


def _need(node: Node, name: str) -> str:
    return f"{node.name} needs {name}, which is kept in memory only"

"""The Kedro hook of the lineage; what it takes is imported when a pipeline runs, so that listing pipelines stays quick."""

from typing import TYPE_CHECKING, Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

if TYPE_CHECKING:
    from bdpo_pipeline.lineage.recording import SessionRecorder


class LineageHook:
    """Records what every artifact of a session was made from.

    Stops a run that would load what was altered since it was made: nothing that follows could be traced.
    """

    def __init__(self) -> None:
        self._context: KedroContext | None = None
        self._session: SessionRecorder | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep the context: it knows the project and where runs are tracked."""
        self._context = context

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol[str, Any]
    ) -> None:
        """Start the session's records."""
        if self._context is None:
            return
        from bdpo_pipeline.lineage.parameter_names import mask_text
        from bdpo_pipeline.lineage.recording import SessionRecorder
        from bdpo_pipeline.lineage.session_facts import session_facts

        tracking = self._context.config_loader["tracking"]["tracking"]
        told = ("tracking_uri", "experiment") if tracking["enabled"] else ()
        where = {key: mask_text(str(tracking[key])) for key in told}
        facts = session_facts(run_params, self._context.project_path, where)
        self._session = SessionRecorder(catalog, facts, pipeline.nodes)

    @hook_impl
    def before_dataset_loaded(self, dataset_name: str, node: Node) -> None:
        """Compare what is to be loaded with its record.

        Raises:
            AlteredArtifactError: it is not what was saved.
        """
        if self._session is not None and not is_parameter(dataset_name):
            self._session.check(dataset_name, node)

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Note from here on which files the node reads."""
        if self._session is not None:
            self._session.start(node)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Write down the recipe."""
        if self._session is not None:
            self._session.finish(node)

    @hook_impl
    def on_node_error(self, node: Node) -> None:
        """Stop noting."""
        if self._session is not None:
            self._session.stop(node)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Write the record of an output, and link its files to the same bytes of the version before."""
        if self._session is not None:
            self._session.saved(dataset_name, node)

"""The Kedro hook that records every run for MLflow. Whatever ails the tracking, the run goes on, and as fast."""

import atexit
import logging
import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from bdpo_pipeline.engine.events import subscribe

if TYPE_CHECKING:
    from bdpo_pipeline.tracking.delivery import Delivery
    from bdpo_pipeline.tracking.tracker import Tracker

logger = logging.getLogger(__name__)


class TrackingHook:
    """Opens a tracker when a pipeline runs, tells it what happens, and ends it."""

    def __init__(self) -> None:
        self._context: KedroContext | None = None
        self._tracker: Tracker | None = None
        self._delivery: Delivery | None = None
        self._upload_command = ""
        self._lost = 0
        self._unsubscribe: Callable[[], None] | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep the context: it knows project, environment and configuration."""
        self._context = context

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol[str, Any]
    ) -> None:
        """Start the session's run. Wrong settings stop the run here, before any node; nothing else of MLflow does."""
        if self._context is None:
            return
        self._interrupted()
        # Here and not above: listing the pipelines takes none of it.
        from bdpo_pipeline.tracking.delivery import Delivery
        from bdpo_pipeline.tracking.journal import Journal
        from bdpo_pipeline.tracking.opening import open_tracker
        from bdpo_pipeline.tracking.settings import TrackingSettings

        configured = TrackingSettings(**self._context.config_loader["tracking"]["tracking"])
        if not configured.enabled:
            return
        settings = configured.relative_to(self._context.project_path)
        project = self._context.project_path
        self._lost, self._upload_command = 0, upload_command(run_params)
        try:
            journal = Journal(run_params["run_id"], settings)
            self._delivery = Delivery(journal, settings)
            self._tracker = open_tracker(journal, project, run_params, pipeline, catalog)
        except Exception as error:  # noqa: BLE001
            self._note_loss(error)
        atexit.register(self._interrupted)

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Open the node's stage and listen to the worker."""
        self._track(lambda tracker: tracker.node_started(node))
        if self._tracker is not None:
            self._unsubscribe = subscribe(lambda event: self._track(lambda tracker: tracker.live(event)))

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Stop listening."""
        self._stop_listening()
        self._track(lambda tracker: tracker.node_ended(node))

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Record an output."""
        self._track(lambda tracker: tracker.saved(dataset_name, data, node))

    @hook_impl
    def after_pipeline_run(self) -> None:
        """End the runs as finished."""
        self._end("FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """End the runs as failed."""
        self._end("FAILED", error)

    def _interrupted(self) -> None:
        # Kedro tells no hook of a KeyboardInterrupt: a run that is still open later on was interrupted.
        self._end("KILLED")

    def _end(self, status: str, error: Exception | None = None) -> None:
        self._stop_listening()
        self._track(lambda tracker: tracker.end(status, error))
        self._track(self._deliver)
        if self._lost > 1:
            logger.warning("%d records of this run could not be kept for MLflow and are lost", self._lost)
        self._tracker, self._delivery, self._lost = None, None, 0
        atexit.unregister(self._interrupted)

    def _deliver(self, tracker: "Tracker") -> None:
        if self._delivery is not None:
            self._delivery.finish(tracker.run, self._upload_command)

    def _stop_listening(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def _track(self, tell: "Callable[[Tracker], None]") -> None:
        if self._tracker is None:
            return
        try:
            tell(self._tracker)
        except Exception as error:  # noqa: BLE001
            self._note_loss(error)

    def _note_loss(self, error: Exception) -> None:
        self._lost += 1
        if self._lost == 1:
            logger.warning(
                "MLflow tracking failed (%s: %s). The pipeline goes on.",
                *(type(error).__name__, str(error).strip().partition("\n")[0]),
            )
        logger.debug("Where the tracking failed:", exc_info=error)


def upload_command(run_params: Mapping[str, Any]) -> str:
    """Return the command that sends what waits of a run."""
    command = ["kedro", "tracking", "upload"]
    if run_params["env"]:
        command += ["--env", run_params["env"]]
    if "data_root" in run_params["runtime_params"]:
        command += ["--params", f"data_root={run_params['runtime_params']['data_root']}"]
    return shlex.join(command)

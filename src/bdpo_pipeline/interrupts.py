"""Kedro hooks for runs that end early: a tidy end, the command that continues, jobs kept until the catalog has what they made."""

import atexit
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import click
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, MemoryDataset
from kedro.pipeline.node import Node

from bdpo_pipeline.engine.events import Event, subscribe
from bdpo_pipeline.lineage.parameter_names import mask_text

RUNNER = "bdpo_pipeline.lineage.fresh.FreshRunner"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptHook:
    """Ends a run at Ctrl-C or SIGTERM by an exception, so that all that is open is closed, and says how to continue.

    Under `kedro run` the process then exits with 130 or 143, without a traceback. In a notebook or a program of one's own, whose
    process goes on, a KeyboardInterrupt is raised and the handlers from before are back.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._received: int | None = None
        self._command: str | None = None

    # Before the other hooks, as what is registered first is called last when the process ends.
    @hook_impl(tryfirst=True)
    def before_pipeline_run(self) -> None:
        """Take over the signals that are not ignored."""
        self._restore()
        if threading.current_thread() is not threading.main_thread():
            return
        context = click.get_current_context(silent=True)
        self._command = continuing_command(context.info_name) if context is not None else None
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._interrupt)
        atexit.register(self._say_how_to_continue)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Give the signals back."""
        self._restore()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Give the signals back."""
        self._restore()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - Python's own interface
        self._received = number
        if self._command is None:
            self._restore()
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        atexit.unregister(self._say_how_to_continue)

    def _say_how_to_continue(self) -> None:
        if self._received is None or self._command is None:
            return
        sys.stdout.flush()
        name = signal.Signals(self._received).name
        click.echo(f"Ended by {name}. What is done is kept; this continues:\n{self._command}", err=True)


class FinishedJobsHook:
    """Removes the folder of a finished job as soon as the catalog has all outputs of the node that ran it.

    A run that is killed before that leaves it, so that the next one takes what was trained, answered or scored as it is.
    """

    def __init__(self) -> None:
        self._catalog: CatalogProtocol[str, Any] | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._finished: list[Event] = []
        self._to_come: set[str] = set()

    @hook_impl
    def before_pipeline_run(self, catalog: CatalogProtocol[str, Any]) -> None:
        """Listen for jobs that end."""
        self._catalog = catalog
        if self._unsubscribe is None:
            self._unsubscribe = subscribe(self._note)

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Forget jobs of a node that did not come to its end."""
        self._finished.clear()
        self._to_come = set(node.outputs)

    # After the other hooks, which note what was saved.
    @hook_impl(trylast=True)
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Remove what is no longer needed; an output that is kept in memory may be a path that leads there."""
        self._to_come.discard(dataset_name)
        if self._to_come or self._catalog is None:
            return
        if not any(isinstance(self._catalog.get(name), MemoryDataset) for name in node.outputs):
            for event in self._finished:
                event["taken"].remove_folder()
        self._finished.clear()

    def _note(self, event: Event) -> None:
        if event["event"] == "finished":
            self._finished.append(event)


def continuing_command(name: str | None) -> str:
    """Return the command line that continues what this process was started to do, with secrets masked.

    Args:
        name: of Kedro's command; `run` gets the runner that runs again only what is not done.
    """
    # Of `python -m kedro`, click puts just these words in the place of the script.
    script = Path(sys.argv[0])
    arguments = sys.argv if script.is_file() and script.name != "__main__.py" else sys.orig_argv
    return mask_text(shlex.join(_with_runner(arguments) if name == "run" else arguments))


def _with_runner(arguments: Sequence[str]) -> list[str]:
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument in ("--runner", "-r"):
            next(rest, None)
        elif not argument.startswith("--runner="):
            kept.append(argument)
    return [*kept, "--runner", RUNNER]

"""How a pass that may be cut off began: what a run that goes on must know and do alike to get the numbers of one go."""

from dataclasses import dataclass
from typing import Any

import torch

from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.jobs import Compute
from bdpo_pipeline.engine.kept import Item, items_of, read_kept


@dataclass(frozen=True)
class Beginning:
    """Of an earlier run of the job, or of this one.

    Attributes:
        done: what has results already.
        layout: facts of how batches were laid out; None where this run is the first.
    """

    done: set[Item]
    layout: dict[str, Any] | None

    def has(self, numbers: list[int]) -> bool:
        """Return whether all of these have results."""
        return all((None, number) in self.done for number in numbers)


def find_beginning(context: WorkerContext, compute: Compute) -> Beginning:
    """Return how the pass began, and compute with as many threads as it did, as sums may differ in their last digits."""
    kept = read_kept(context.folder)
    began = next((event for event in kept if event["event"] == "began"), None)
    if began is None:
        return Beginning(set(), None)
    if compute.threads is None:
        torch.set_num_threads(began["threads"])
    return Beginning(items_of(kept), began["layout"])


def keep_beginning(context: WorkerContext, beginning: Beginning) -> None:
    """Keep how this run lays its batches out, by the context's facts, if it is the first; before any result is kept. All must call."""
    if beginning.layout is not None:
        return
    if context.accelerator.is_main_process:
        context.keep({"event": "began", "layout": context.facts, "threads": torch.get_num_threads()})
    # Results without a beginning would be those of another layout to the next run.
    context.accelerator.wait_for_everyone()

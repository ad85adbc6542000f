"""What the processes of a job report, handed over as it comes."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bdpo_pipeline.engine.events import Event
from bdpo_pipeline.engine.kept import EVENTS, KEPT

logger = logging.getLogger(__name__)
_PROGRESS_LOG_SECONDS = 15.0


@dataclass
class Following:
    """Reads the events of a job's processes, and before them what earlier runs of the job have kept.

    Attributes:
        folder: of the job.
        on_event: called with every event that says something about the work, in order for each process.
        ended: processes that have said that they are done, or that they stopped as they were asked to.
        stopping: whether a training has begun to write its last checkpoint before it stops.
        error: the first that was reported.
        failed: when, by the monotonic clock.
    """

    folder: Path
    on_event: Callable[[Event], None]
    ended: int = 0
    stopping: bool = False
    error: Event | None = None
    failed: float | None = None
    _places: dict[Path, int] = field(default_factory=dict)
    _logged: float = field(default_factory=time.monotonic)

    def hand_over(self) -> None:
        """Hand over what is new."""
        for event in self._new_events():
            kind = event["event"]
            if kind == "end":
                self.ended += 1
                continue
            if kind == "began":
                continue
            if kind == "stopping":
                self.stopping = True
                logger.info("Training stops after %d steps and writes a checkpoint", event["step"])
                continue
            if kind == "warning":
                logger.warning("%s", event["message"])
            elif kind == "resumed":
                logger.info("Training goes on after step %d", event["step"])
            elif kind == "error":
                self.error, self.failed = self.error or event, self.failed or time.monotonic()
            elif kind == "progress":
                self._log_progress(event)
            elif kind == "layout":
                logger.info("At most %d places in a pass: %s", event["tokens_per_batch"], event["reason"])
            self.on_event(event)

    def _new_events(self) -> Iterator[Event]:
        for path in [*self.folder.glob(KEPT), *sorted(self.folder.glob(EVENTS))]:
            with path.open("rb") as file:
                file.seek(self._places.get(path, 0))
                for line in file:
                    # The worker may be in the middle of a line; it is read whole next time.
                    if not line.endswith(b"\n"):
                        break
                    self._places[path] = self._places.get(path, 0) + len(line)
                    event = json.loads(line)
                    yield event.get("content", event)

    def _log_progress(self, event: Event) -> None:
        done, total, seconds = event["done"], event["total"], event["seconds"]
        if done < total and time.monotonic() - self._logged < _PROGRESS_LOG_SECONDS:
            return
        self._logged = time.monotonic()
        rate = done / seconds if seconds else 0.0
        left = (total - done) / rate if rate else float("nan")
        logger.info("%s: %d of %d, %.2f/s, %.0f s left", event["task"], done, total, rate, left)

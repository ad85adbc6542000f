"""The process beside a run that sends what the run writes down, so that the run itself never waits for MLflow nor imports it.

It ends with the run: when its standard input is closed, by the run's end or by its death, it sends the rest and is gone. Runs whose
process was killed it ends as KILLED.
"""

import json
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bdpo_pipeline.tracking.journal import sessions
from bdpo_pipeline.tracking.life import STATE
from bdpo_pipeline.tracking.progress import replace
from bdpo_pipeline.tracking.sending import Outcome, send_session
from bdpo_pipeline.tracking.settings import TrackingSettings

_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_LAST_TRIES, _LAST_PAUSE = 3, 0.5
# How much of the mean time of a request is that of the newest.
_NEWEST_SHARE = 0.3


class State:
    """What the run is to know when it waits for the end: what is done since when, how long requests take, whether the store is down."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / STATE
        self._seconds = 0.0

    def tell(self, doing: str | None = None, down: str | None = None) -> None:
        """Write it down, unless the session's folder is gone."""
        if self._path.parent.is_dir():
            replace(
                self._path, {"doing": doing, "since": time.time(), "seconds": self._seconds, "down": down}
            )

    @contextmanager
    def watch(self, doing: str, entries: int) -> Iterator[None]:  # noqa: ARG002 - a Watch
        """Say what is being done, and measure how long it takes."""
        self.tell(doing)
        start = time.monotonic()
        try:
            yield
        finally:
            if doing not in SLOW_BY_NATURE:
                taken = time.monotonic() - start
                self._seconds += _NEWEST_SHARE * (taken - self._seconds)
            self.tell()


# Importing MLflow or making a database, and packing a model, take their time with any store.
SLOW_BY_NATURE = frozenset({"prepare", "register"})


def follow(own: Path, settings: TrackingSettings) -> bool:
    """Send the sessions of before, then one that is being recorded, until its process closes our standard input.

    Returns:
        whether all of the session was sent.
    """
    state = State(own)
    earlier = [folder for folder in sessions(Path(settings.spool)) if folder != own]
    pause, reason, last_tries = 0.0, None, 0
    while True:
        over = _is_over(pause)
        failed_before, outcome = reason is not None, Outcome()
        while earlier and not outcome.outage:
            outcome = send_session(earlier[0], settings, state.watch)
            earlier = earlier if outcome.outage else earlier[1:]
        if not outcome.outage:
            outcome = send_session(own, settings, state.watch)
        reason = outcome.reason
        state.tell(down=reason)
        if not over:
            pause = min(2 * pause, _LONGEST_PAUSE) if failed_before and reason is not None else _PAUSE
            continue
        last_tries += 1
        # Open runs: the process is dying, and its lock not free yet.
        if last_tries == _LAST_TRIES or failed_before or (reason is None and not outcome.open_runs):
            return reason is None
        time.sleep(_LAST_PAUSE)


def _is_over(seconds: float) -> bool:
    """Wait, and say whether the run has closed its end of the pipe meanwhile."""
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(readable)


def main() -> None:
    """Read what to do, a line of JSON, from standard input, and do it."""
    job = json.loads(sys.stdin.readline())
    sent = follow(Path(job["folder"]), TrackingSettings(**job["settings"]))
    sys.exit(0 if sent else 1)


if __name__ == "__main__":
    main()

"""A run's side of the upload: it starts the process that sends, and at the end waits as long as that is worth it."""

import json
import logging
import subprocess
import sys
import time
from typing import IO, Any, cast

from bdpo_pipeline.tracking.journal import Journal
from bdpo_pipeline.tracking.life import STATE
from bdpo_pipeline.tracking.progress import load_progress, read, read_refused
from bdpo_pipeline.tracking.sending import count_waiting, remove_sent
from bdpo_pipeline.tracking.settings import TrackingSettings
from bdpo_pipeline.tracking.uploader import SLOW_BY_NATURE

logger = logging.getLogger(__name__)

_LOG = "uploader.log"
_LOOK_SECONDS = 0.05
# A store that answers is waited for, if it answers fast; one that does not, no longer than this.
_LONGEST_SECONDS = 60.0
_GRACE_SECONDS = 1.0
_SLOW_SECONDS = 0.5
_STUCK_SECONDS = 3.0
_STUCK_BY_NATURE_SECONDS = 30.0


class Delivery:
    """The uploader of one session.

    Args:
        journal: of the session.
        settings: the store.
    """

    def __init__(self, journal: Journal, settings: TrackingSettings) -> None:
        self._journal = journal
        self._folder = journal.folder
        self._settings = settings
        with (self._folder / _LOG).open("w") as log:
            # A session of its own: what interrupts the run must not interrupt the upload.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bdpo_pipeline.tracking.uploader"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # Settings may hold a password: neither a command line nor a file is the place for it.
        job = json.dumps({"folder": str(self._folder), "settings": settings.model_dump()}) + "\n"
        self._pipe = cast(IO[bytes], self._process.stdin)
        self._pipe.write(job.encode())
        self._pipe.flush()

    def finish(self, run: str, command: str) -> None:
        """Have the rest sent, and say what became of it. The journal must have been written to its end.

        Args:
            run: the session's, in the journal.
            command: what sends later what waits now.
        """
        reason = self._wait()
        progress, refused = load_progress(self._folder), len(read_refused(self._folder))
        if refused:
            logger.warning(
                "MLflow refused %d records of this run; they and the reasons: %s", refused, self._folder
            )
        if reason is None and progress is not None:
            where = self._settings.page(str(progress.experiment), progress.runs[run])
            logger.info(
                "Tracked in MLflow, experiment %s, run %s: %s",
                *(self._settings.experiment, progress.runs[run], where),
            )
            if not refused and not progress.open_runs:
                remove_sent(self._folder)
        else:
            logger.warning(
                "MLflow did not take everything (%s): %d records of this run wait in %s. "
                "The next run sends them; to do it now: %s",
                *(reason, count_waiting(self._folder), self._folder, command),
            )
        self._journal.close()

    def _wait(self) -> str | None:
        """Wait for the uploader, and return None when everything was sent; else why not."""
        self._pipe.close()
        start = time.monotonic()
        try:
            while self._process.poll() is None and self._is_worth_waiting(time.monotonic() - start):
                time.sleep(_LOOK_SECONDS)
        except KeyboardInterrupt:  # whoever is tired of waiting need not
            return self._stop("interrupted")
        if self._process.poll() is None:
            return self._stop("it answers slowly")
        return None if self._process.returncode == 0 else self._reason(f"the upload failed, see {_LOG} there")

    def _stop(self, otherwise: str) -> str:
        self._process.kill()
        self._process.wait()
        return self._reason(otherwise)

    def _reason(self, otherwise: str) -> str:
        state = self._state()
        return str(state["down"]) if state is not None and state["down"] else otherwise

    def _is_worth_waiting(self, waited: float) -> bool:
        state = self._state()
        if waited < _GRACE_SECONDS or state is None:  # None: it has yet to begin
            return waited < _LONGEST_SECONDS
        if state["down"] or state["seconds"] > _SLOW_SECONDS or waited > _LONGEST_SECONDS:
            return False
        stuck = _STUCK_BY_NATURE_SECONDS if state["doing"] in SLOW_BY_NATURE else _STUCK_SECONDS
        return state["doing"] is None or time.time() - state["since"] < stuck

    def _state(self) -> dict[str, Any] | None:
        return read(self._folder / STATE)

"""Takes part in the jobs that another machine runs: ``python -m bdpo_pipeline.engine.follow <scratch> <accelerate config>``.

To be started on every machine but the one that runs Kedro, with the ``compute.scratch`` of that one and a copy of its file of
Accelerate's in which ``machine_rank`` is this machine's. It joins one job after the other until it is ended. See docs/multi_node.md.
"""

import logging
import signal
import socket
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from bdpo_pipeline.engine.job_folder import read_job
from bdpo_pipeline.engine.launching import ATTEMPT, BEAT_SECONDS, started

logger = logging.getLogger(__name__)
_POLL_SECONDS = 0.5
# A shared file system may show a new time of a file that much later.
_SILENCE_SECONDS = 60 * BEAT_SECONDS


@dataclass
class Runs:
    """The runs of jobs below a folder, known by their marks, and when each last gave a sign of life."""

    scratch: Path
    _times: dict[str, int] = field(default_factory=dict)
    _seen_alive: dict[str, float] = field(default_factory=dict)

    def look(self) -> dict[str, Path]:
        """Return the folders of living runs by mark. Alive is a run whose file's time went on; no clocks are compared."""
        found: dict[str, Path] = {}
        for path in self.scratch.glob(f"*/{ATTEMPT}"):
            try:
                mark, changed = path.read_text(), path.stat().st_mtime_ns
            except FileNotFoundError:  # it ended just now
                continue
            if self._times.setdefault(mark, changed) != changed:
                self._times[mark] = changed
                self._seen_alive[mark] = time.monotonic()
            if time.monotonic() - self._seen_alive.get(mark, -_SILENCE_SECONDS) < _SILENCE_SECONDS:
                found[mark] = path.parent
        return found


def follow(scratch: Path, accelerate_config: str) -> None:
    """Join every job that runs below ``scratch``, until this process is ended; what it started ends with the job or with it."""
    runs, joined = Runs(scratch), set[str]()
    while True:
        new = next(((mark, folder) for mark, folder in runs.look().items() if mark not in joined), None)
        if new is None:
            time.sleep(_POLL_SECONDS)
            continue
        joined.add(new[0])
        _join(runs, *new, accelerate_config)


def _join(runs: Runs, mark: str, folder: Path, accelerate_config: str) -> None:
    try:
        compute = read_job(folder).compute
    except FileNotFoundError:  # it ended just now
        return
    if compute.accelerate_config is None:
        return
    log = runs.scratch / f"follow-{socket.gethostname()}.log"
    logger.info("%s: joined; what its processes here say: %s", folder.name, log)
    with started(replace(compute, accelerate_config=accelerate_config), folder, log) as process:
        while process.poll() is None and mark in runs.look():
            time.sleep(_POLL_SECONDS)
    logger.info("%s: ended here with exit code %s", folder.name, process.returncode)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # As an interrupt, so that what it started ends with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    follow(Path(sys.argv[1]), sys.argv[2])

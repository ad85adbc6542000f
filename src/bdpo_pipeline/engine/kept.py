"""Results of a pass, kept in its job's folder, so that a pass that was cut off goes on where it was.

A process appends each result to its file of events, as a line under its own SHA-256. Before the job goes on, ``gather`` brings the
whole lines together in ``kept.jsonl``, which does not change while the job runs: all processes see the same, and what is done is
handed over first.
"""

import logging
from contextlib import suppress
from pathlib import Path

from bdpo_pipeline.durable import write_whole
from bdpo_pipeline.engine.events import Event
from bdpo_pipeline.engine.sealed import SEAL, DamagedError, unseal_text

logger = logging.getLogger(__name__)
KEPT = "kept.jsonl"
EVENTS = "events-*.jsonl"
# What each kind of result was computed for.
_ITEMS = {
    "scores": "responses",
    "generations": "prompts",
    "divergences": "responses",
    "ratings": "texts",
    "attacks": "behaviours",
}

# The model that a job asks, where it asks several, and the number of what it was asked.
Item = tuple[str | None, int]


def gather(folder: Path) -> None:
    """Bring together what earlier runs of a job have computed, and remove their events.

    A line that is torn or was altered is left out, so that what it said is computed again.
    """
    events = sorted(folder.glob(EVENTS))
    before = _sealed_lines(folder / KEPT)
    lines = dict.fromkeys([*before, *(line for path in events for line in _sealed_lines(path))])
    whole = [line for line in lines if _is_whole(line, folder)]
    if whole != before:
        write_whole(folder / KEPT, "".join(whole))
    for path in events:
        path.unlink()


def read_kept(folder: Path) -> list[Event]:
    """Return what earlier runs of a job have computed, as `gather` brought it together."""
    return [unseal_text(line.rstrip("\n"), KEPT) for line in _sealed_lines(folder / KEPT)]


def items_of(events: list[Event]) -> set[Item]:
    """Return what the results among some events were computed for."""
    return {
        (event.get("model"), number)
        for event in events
        if event["event"] in _ITEMS
        for number in event[_ITEMS[event["event"]]]
    }


def has_results(folder: Path) -> bool:
    """Return whether a job's folder holds anything that another run of the job need not compute again."""
    lines = [line for path in (folder / KEPT, *folder.glob(EVENTS)) for line in _sealed_lines(path)]
    for line in lines:
        # A torn or altered line is no result.
        with suppress(DamagedError):
            if items_of([unseal_text(line.rstrip("\n"), "a result")]):
                return True
    return False


def _sealed_lines(path: Path) -> list[str]:
    """Return the lines of a file that begin as a result does, the last one also if it is torn."""
    if not path.exists():
        return []
    text = path.read_bytes().decode(errors="replace")
    return [line for line in text.splitlines(keepends=True) if line.startswith(SEAL)]


def _is_whole(line: str, folder: Path) -> bool:
    if not line.endswith("\n"):  # the process was killed while it wrote
        return False
    try:
        unseal_text(line.rstrip("\n"), "a result")
    except DamagedError as error:
        logger.warning("In %s, %s; it is computed again", folder, error)
        return False
    return True

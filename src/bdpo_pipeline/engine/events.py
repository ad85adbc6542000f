"""What a running worker reports, for whoever wants to know: progress, metrics, results.

An event is a dict with an ``event`` key, such as ``{"event": "metrics", "split": "train", "step": 12, "values": {...}}`` or
``{"event": "progress", "task": "train", "done": 96, "total": 320, "seconds": 88.1}``.
"""

from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
_subscribers: list[Callable[[Event], None]] = []


def subscribe(callback: Callable[[Event], None]) -> Callable[[], None]:
    """Call ``callback`` with every event from now on; the returned function ends that."""
    _subscribers.append(callback)

    def unsubscribe() -> None:
        _subscribers.remove(callback)

    return unsubscribe


def publish(event: Event) -> None:
    """Hand an event to all subscribers."""
    for callback in list(_subscribers):
        callback(event)

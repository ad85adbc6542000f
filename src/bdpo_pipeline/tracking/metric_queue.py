"""Metrics on their way to the store: handed over in an instant, sent by a thread, complete after `flush`."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class MetricQueue(Generic[T]):
    """Sends entries in the background, those of one run together, in order.

    MLflow has such a queue, which runs on a thread pool. A pool takes no work once the interpreter shuts down, so what waited there
    when a run was interrupted was lost. Here whoever flushes sends what is left, in its own thread.

    Args:
        send: records entries of a run.
    """

    def __init__(self, send: Callable[[str, list[T]], None]) -> None:
        self._send = send
        self._waiting: SimpleQueue[tuple[str, list[T]]] = SimpleQueue()
        self._sending = threading.Lock()
        self._arrived = threading.Event()
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def put(self, run: str, entries: list[T]) -> None:
        """Hand entries over."""
        self._waiting.put((run, entries))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="metrics", daemon=True)
            self._thread.start()
        self._arrived.set()

    def flush(self) -> None:
        """Send what waits, and raise what went wrong since the last flush."""
        self._send_waiting()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self) -> None:
        while True:
            self._arrived.wait()
            self._arrived.clear()
            self._send_waiting()

    def _send_waiting(self) -> None:
        with self._sending:
            by_run: dict[str, list[T]] = {}
            while True:
                try:
                    run, entries = self._waiting.get_nowait()
                except Empty:
                    break
                by_run.setdefault(run, []).extend(entries)
            for run, entries in by_run.items():
                try:
                    self._send(run, entries)
                except Exception as error:  # noqa: BLE001 - raised by flush, in the thread that tracks
                    self._error = self._error or error

"""Python imports this first in every process that has this folder on its PYTHONPATH: `hold_workers` in tests/conftest.py."""

import json
import os
import sys
import time
from importlib.abc import MetaPathFinder
from importlib.util import find_spec

WANTED = json.loads(os.environ.get("HOLD_WORKERS", "null"))


def hold(context) -> None:
    writer, seen = context.EventWriter, 0
    write = writer._write

    def write_and_wait(self, text: str) -> None:
        nonlocal seen
        write(self, text)
        event = json.loads(text)
        event = event.get("content", event)
        if WANTED["event"].items() <= {name: event.get(name) for name in WANTED["event"]}.items():
            seen += 1
            while seen == WANTED["times"] and not (
                WANTED["until_asked_to_stop"] and (self._path.parent / context.STOP).exists()
            ):
                time.sleep(0.01)

    writer._write = write_and_wait


class Finder(MetaPathFinder):
    """Changes the class that writes a worker's events, once the worker imports it."""

    def find_spec(self, name, *_):
        if name != "bdpo_pipeline.engine.context":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        load = spec.loader.exec_module

        def load_and_change(module) -> None:
            load(module)
            hold(module)

        spec.loader.exec_module = load_and_change
        return spec


if WANTED is not None:
    sys.meta_path.insert(0, Finder())

"""One process at a time computes the missing log-probs of a model."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bdpo_pipeline.cache.rows import Model
from bdpo_pipeline.disk_space import clear_about_space
from bdpo_pipeline.locks import try_to_lock

logger = logging.getLogger(__name__)
_POLL_SECONDS = 0.2
_LOOK_SECONDS = 3.0
_LOG_SECONDS = 60.0


@contextmanager
def turn(store: Path, model: Model, is_done: Callable[[], bool]) -> Iterator[None]:
    """Hold the right to compute log-probs of a model, waiting for whoever has it; or go on as soon as there is nothing to do.

    The right is a lock on a file beside the store. It goes with the process that has it, however that ends.

    Args:
        store: file of the store.
        model: whose log-probs.
        is_done: asked now and then while waiting.
    """
    with _open(store, model) as file:
        started = logged = looked = time.monotonic()
        while not try_to_lock(file):
            now = time.monotonic()
            if now - looked > _LOOK_SECONDS:
                if is_done():
                    break
                looked = now
            if logged == started or now - logged > _LOG_SECONDS:
                logger.info(
                    "Another run is computing log-probs of the same model (%s); waiting for it", _holder(file)
                )
                logged = now
            time.sleep(_POLL_SECONDS)
        else:
            with clear_about_space(store):
                _sign(file)
        yield


def _open(store: Path, model: Model) -> IO[str]:
    digest = hashlib.sha256(f"{model.weights_sha256}/{model.precision}".encode()).hexdigest()[:16]
    with clear_about_space(store):
        return store.with_name(f"{store.name}-{digest}.lock").open("a+")


def _sign(file: IO[str]) -> None:
    file.truncate(0)
    json.dump({"process": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}, file)
    file.flush()


def _holder(file: IO[str]) -> str:
    file.seek(0)
    try:
        signed = json.loads(file.read())
    except json.JSONDecodeError:  # it is just being signed
        return "not signed yet"
    return f"process {signed['process']}, since {signed['since']}"

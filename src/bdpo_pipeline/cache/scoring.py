"""Log-probs of responses under a model, through the store: only what is not there is computed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdpo_pipeline.cache.keys import response_key
from bdpo_pipeline.cache.rows import Model
from bdpo_pipeline.cache.store import LogprobStore
from bdpo_pipeline.cache.turns import turn
from bdpo_pipeline.engine.events import Event, publish
from bdpo_pipeline.engine.jobs import Compute, ScoreJob
from bdpo_pipeline.engine.launcher import run_job

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """A response and the context that it is scored in, as token ids."""

    context: Sequence[int]
    response: Sequence[int]


@dataclass(frozen=True)
class CachedScores:
    """Log-probs in the order of the items, and what they cost.

    Attributes:
        logps: log-probs, nats.
        keys: their keys in the store; items that are alike have one key.
        computed: keys that this pass computed.
        forward_passes: what computing them took.
    """

    logps: list[float]
    keys: list[bytes]
    computed: frozenset[bytes]
    forward_passes: int

    def count(self, items: slice = slice(None)) -> dict[str, int]:
        """Return how many different log-probs of these items were requested, found in the store, and computed."""
        requested = set(self.keys[items])
        computed = len(requested & self.computed)
        return {"requested": len(requested), "cached": len(requested) - computed, "computed": computed}


def score_through_cache(
    items: Sequence[Item], base_model: dict[str, Any], compute: Compute, store: LogprobStore, scratch: Path
) -> CachedScores:
    """Return log pi(response | context) of every item under the base model.

    What a worker computes is stored batch by batch, so a killed run loses the batch in hand and no more. Items that are alike are
    computed once, also by runs at the same time: one computes, the others wait and find its log-probs.

    Args:
        items: what to score.
        base_model: the ``base_model`` artifact.
        compute: where and how; its precision is part of the key.
        store: the cache.
        scratch: folder for the files of jobs.

    Raises:
        StoreError: the store cannot be used.
        NoSpaceError: the disk is full; what is stored is intact.
    """
    model = Model(base_model["weights_sha256"], compute.precision)
    keys = [response_key(model.weights_sha256, model.precision, i.context, i.response) for i in items]
    wanted = dict(zip(keys, items, strict=True))
    known: dict[bytes, float] = {}

    def missing() -> dict[bytes, Item]:
        known.update(store.get([key for key in wanted if key not in known], model))
        return {key: item for key, item in wanted.items() if key not in known}

    absent, passes = missing(), 0
    if absent:
        with turn(store.path, model, is_done=lambda: not missing()):
            absent = missing()
            if absent:
                logger.info("Reference: %d of %d log-probs are to be computed", len(absent), len(wanted))
                passes = _compute(wanted, base_model["path"], compute, store, model, known, scratch)
    if wanted:
        store.record(model, requested=len(wanted), found=len(wanted) - len(absent), computed=len(absent))
    return CachedScores([known[key] for key in keys], keys, frozenset(absent), passes)


def _compute(
    different: dict[bytes, Item],
    path: str,
    compute: Compute,
    store: LogprobStore,
    model: Model,
    known: dict[bytes, float],
    scratch: Path,
) -> int:
    import numpy as np

    keys = list(different)
    # Before anything is added: of items that are known already, the worker takes note when it makes up its batches, and no more. So a
    # pass that was cut off goes on with the very batches that it would have had, and gets the same last digits.
    absent = np.array([key not in known for key in keys])

    def keep(event: Event) -> None:
        if event["event"] == "scores":
            scores = {keys[i]: logp for i, logp in zip(event["responses"], event["logps"], strict=True)}
            store.put(scores, model)
            known.update(scores)
        else:
            publish(event)

    contexts: dict[tuple[int, ...], int] = {}
    response_context = [contexts.setdefault(tuple(i.context), len(contexts)) for i in different.values()]
    result, _ = run_job(
        # What is computed is stored here at once.
        ScoreJob(path, compute, resumable=False),
        scratch,
        ragged={"contexts": list(contexts), "responses": [item.response for item in different.values()]},
        flat={"response_context": np.array(response_context, np.int64), "is_wanted": absent},
        on_event=keep,
    )
    return int(result["forward_passes"])

"""Log-probs of responses under a model, through the store: only what is not there is computed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdpo_pipeline.cache.keys import response_key
from bdpo_pipeline.cache.store import LogprobStore
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
        computed: keys that were not in the store.
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
    computed once.

    Args:
        items: what to score.
        base_model: the ``base_model`` artifact.
        compute: where and how; its precision is part of the key.
        store: the cache.
        scratch: folder for the files of jobs.
    """
    weights = base_model["weights_sha256"]
    keys = [response_key(weights, compute.precision, i.context, i.response) for i in items]
    known = store.get(keys)
    missing = {key: item for key, item in zip(keys, items, strict=True) if key not in known}
    passes = 0
    if missing:
        logger.info("Reference: %d of %d log-probs are to be computed", len(missing), len(set(keys)))
        passes = _compute(missing, base_model["path"], compute, store, known, scratch)
    return CachedScores([known[key] for key in keys], keys, frozenset(missing), passes)


def _compute(
    missing: dict[bytes, Item],
    model: str,
    compute: Compute,
    store: LogprobStore,
    known: dict[bytes, float],
    scratch: Path,
) -> int:
    import numpy as np

    keys = list(missing)

    def keep(event: Event) -> None:
        if event["event"] == "scores":
            scores = {keys[i]: logp for i, logp in zip(event["responses"], event["logps"], strict=True)}
            store.put(scores)
            known.update(scores)
        else:
            publish(event)

    contexts: dict[tuple[int, ...], int] = {}
    response_context = [contexts.setdefault(tuple(item.context), len(contexts)) for item in missing.values()]
    result, _ = run_job(
        ScoreJob(model, compute),
        scratch,
        ragged={"contexts": list(contexts), "responses": [item.response for item in missing.values()]},
        flat={"response_context": np.array(response_context, np.int64)},
        on_event=keep,
    )
    return int(result["forward_passes"])

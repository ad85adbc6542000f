"""The estimators on the model that can be enumerated, where the exact mutual information is known."""

import tempfile
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from enumerable import (
    QUERIES,
    all_responses,
    build_enumerable_model,
    encode_queries,
    exact_logps,
    mutual_information,
)

from bdpo_pipeline.cache.scoring import Item, score_through_cache
from bdpo_pipeline.cache.store import LogprobStore
from bdpo_pipeline.engine.jobs import Compute
from bdpo_pipeline.reference.marginals import Marginal, combine, single_context

_SEED = 1


@dataclass(frozen=True)
class Known:
    """Mean pointwise MI over the model's own responses, nats.

    Attributes:
        exact: the exact mutual information, in fp64.
        single: the estimates of ``empty_prompt`` and ``bos``.
        contrastive: by K, over all choices of K other queries: mean, smallest and largest estimate of a choice for all queries.
    """

    exact: float
    single: dict[str, float]
    contrastive: dict[int, tuple[float, float, float]]


def measure_known() -> Known:
    """Return the exact information of the enumerable model, and what each estimator makes of it through the project's scoring."""
    with tempfile.TemporaryDirectory(prefix="enumerable-") as name:
        folder = Path(name)
        base_model = build_enumerable_model(folder, seed=_SEED)
        queries, responses = encode_queries(base_model), all_responses()
        single = {kind: single_context(base_model["path"], kind) for kind in ("empty_prompt", "bos")}
        items = [Item(c, r) for c in [*queries, *single.values()] for r in responses]
        compute = Compute(device="cpu", tokens_per_batch=8192)
        scores = score_through_cache(
            items, base_model, compute, LogprobStore(folder / "cache.sqlite"), folder
        )
        exact = mutual_information(exact_logps(base_model, queries, responses))
    logps = np.reshape(scores.logps, (-1, len(responses)))
    known, rest = logps[: len(queries)], logps[len(queries) :]
    return Known(
        exact,
        {
            kind: _mean([own - other for own in known], known)
            for kind, other in zip(single, rest, strict=True)
        },
        {k: _over_all_panels(known, k) for k in range(1, len(QUERIES))},
    )


def _over_all_panels(logps: np.ndarray, others: int) -> tuple[float, float, float]:
    """Average within each set of K + 1 queries, every query against the others of its set."""
    marginal = Marginal("contrastive", others)
    means = []
    for chosen in map(list, combinations(range(len(logps)), others + 1)):
        part = logps[chosen]
        own = [row - combine(marginal, row, np.delete(part, i, axis=0).T) for i, row in enumerate(part)]
        means.append(_mean(own, part))
    return float(np.mean(means)), min(means), max(means)


def _mean(pointwise: list[np.ndarray], logps: np.ndarray) -> float:
    return float((np.exp(logps) * np.stack(pointwise)).sum(axis=1).mean())

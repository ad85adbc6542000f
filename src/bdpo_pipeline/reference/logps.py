"""Reference log-probs of pairs, conditional and marginal, through the cache."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdpo_pipeline.cache.scoring import Item, score_through_cache
from bdpo_pipeline.cache.store import LogprobStore
from bdpo_pipeline.engine.jobs import Compute
from bdpo_pipeline.reference.marginals import Marginal, combine, marginal_contexts

if TYPE_CHECKING:
    import pandas as pd

# Held-out pairs are weighed by nothing.
WEIGHTED_SPLITS = ("train", "validation")


def score_reference(
    base_model: dict[str, Any],
    pairs: "pd.DataFrame",
    *,
    conditional: bool,
    marginal: Marginal | None,
    marginal_splits: Sequence[str] = WEIGHTED_SPLITS,
    compute: Compute,
    cache: Path,
    scratch: Path,
) -> tuple["pd.DataFrame", dict[str, Any]]:
    """Return the ``reference_logps`` table and the ``reference_report`` (docs/artifacts.md); what is not asked for is null.

    Args:
        base_model: the ``base_model`` artifact.
        pairs: ``tokenised_pairs``.
        conditional: whether to score the responses with their query; a marginal implies it.
        marginal: how to estimate the log-probs without it; None for not at all.
        marginal_splits: the splits whose pairs get those.
        compute: where and how.
        cache: file of the log-prob store.
        scratch: folder for the files of jobs.
    """
    import numpy as np

    started = time.monotonic()
    # Mutual information takes both, whatever the objective takes besides.
    conditional = conditional or marginal is not None
    weighted = pairs["split"].isin(marginal_splits) & (marginal is not None)
    with_query = _items(pairs, [[prompt] for prompt in pairs["prompt_ids"]]) if conditional else []
    without_query: list[Item] = []
    if marginal is not None:
        pool = pairs.loc[pairs["split"] == "train", "prompt_ids"]
        mine = pairs[weighted]
        contexts = marginal_contexts(base_model["path"], marginal, list(mine["prompt_ids"]), list(pool))
        without_query = _items(mine, contexts)
    # One job for both: a worker takes seconds to start.
    store = LogprobStore(cache)
    scores = score_through_cache([*with_query, *without_query], base_model, compute, store, scratch)
    first, second = slice(len(with_query)), slice(len(with_query), None)
    known = np.full((len(pairs), 2), np.nan)
    if conditional:
        known[:] = np.reshape(scores.logps[first], (-1, 2))
    marginals = np.full((len(pairs), 2), np.nan)
    if marginal is not None and weighted.any():
        # A row for each response of each pair, a column for each context.
        others = np.reshape(scores.logps[second], (2 * weighted.sum(), -1))
        marginals[weighted] = combine(marginal, known[weighted].ravel(), others).reshape(-1, 2)

    table = pairs[["pair_id", "split"]].copy()
    for number, side in enumerate(("chosen", "rejected")):
        table[f"reference_{side}_logp"] = known[:, number]
        table[f"marginal_{side}_logp"] = marginals[:, number]
        table[f"{side}_tokens"] = pairs[f"{side}_ids"].map(len).astype("int32")
    report = {
        "pairs": len(pairs),
        "marginal_context": marginal.kind if marginal else None,
        "conditional": scores.count(first),
        "marginal": scores.count(second),
        "forward_passes": scores.forward_passes,
        "seconds": round(time.monotonic() - started, 3),
        "cache_rows": len(store),
    }
    return table, report


def _items(pairs: "pd.DataFrame", contexts: list[list[Any]]) -> list[Item]:
    """Return the items pair by pair: the chosen response in each of the pair's contexts, then the rejected one."""
    both = zip(pairs["chosen_ids"], pairs["rejected_ids"], contexts, strict=True)
    return [
        Item(context, response)
        for chosen, rejected, places in both
        for response in (chosen, rejected)
        for context in places
    ]

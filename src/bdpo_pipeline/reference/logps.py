"""Reference log-probs of pairs, conditional and marginal, through the cache."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdpo_pipeline.cache.scoring import Item, score_through_cache
from bdpo_pipeline.cache.store import LogprobStore
from bdpo_pipeline.engine.jobs import Compute
from bdpo_pipeline.reference.marginals import Marginal, combine, marginal_contexts

if TYPE_CHECKING:
    import pandas as pd

MARGINAL_SPLITS = ("train", "validation")


def score_reference(
    base_model: dict[str, Any],
    pairs: "pd.DataFrame",
    *,
    conditional: bool,
    marginal: Marginal | None,
    compute: Compute,
    cache: Path,
    scratch: Path,
) -> tuple["pd.DataFrame", dict[str, Any]]:
    """Return the ``reference_logps`` table and the ``reference_report`` (docs/artifacts.md); what is not asked for is null.

    Held-out pairs get no marginal log-probs: nothing is decided by them.

    Args:
        base_model: the ``base_model`` artifact.
        pairs: ``tokenised_pairs``.
        conditional: whether to score the responses with their query.
        marginal: how to estimate the log-probs without it; None for not at all. It takes the conditional ones, too.
        compute: where and how.
        cache: file of the log-prob store.
        scratch: folder for the files of jobs.
    """
    import numpy as np

    started = time.monotonic()
    weighted = pairs["split"].isin(MARGINAL_SPLITS) & (marginal is not None)
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

    table = pairs[["pair_id", "split"]].copy()
    known = np.array(scores.logps[first]).reshape(-1, 2)
    if marginal is not None:
        # A row for each pair, a column for each response, and behind them the contexts.
        others = np.array(scores.logps[second]).reshape(int(weighted.sum()), 2, -1)
    for number, side in enumerate(("chosen", "rejected")):
        table[f"reference_{side}_logp"] = known[:, number] if conditional else np.nan
        table[f"marginal_{side}_logp"] = np.nan
        if marginal is not None:
            values = combine(marginal, known[weighted, number], others[:, number])
            table.loc[weighted, f"marginal_{side}_logp"] = values
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

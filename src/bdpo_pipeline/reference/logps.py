"""Reference log-probs of pairs, conditional and marginal, through the cache."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdpo_pipeline.cache.scoring import Item, score_through_cache
from bdpo_pipeline.cache.store import LogprobStore
from bdpo_pipeline.engine.jobs import Compute
from bdpo_pipeline.models.encoding import encode_prompts
from bdpo_pipeline.models.loading import load_tokenizer

if TYPE_CHECKING:
    import pandas as pd

MARGINAL_SPLITS = ("train", "validation")


def score_reference(
    base_model: dict[str, Any],
    pairs: "pd.DataFrame",
    *,
    marginal: str,
    compute: Compute,
    cache: Path,
    scratch: Path,
) -> tuple["pd.DataFrame", dict[str, Any]]:
    """Return the ``reference_logps`` table and the ``reference_report`` (docs/artifacts.md).

    Held-out pairs get no marginal log-probs: nothing is decided by them.

    Args:
        base_model: the ``base_model`` artifact.
        pairs: ``tokenised_pairs``.
        marginal: the context that stands for no query, ``empty_prompt`` or ``bos``.
        compute: where and how.
        cache: file of the log-prob store.
        scratch: folder for the files of jobs.
    """
    started = time.monotonic()
    store = LogprobStore(cache)
    conditional = [
        Item(prompt, response)
        for prompt, *responses in zip(
            pairs["prompt_ids"], pairs["chosen_ids"], pairs["rejected_ids"], strict=True
        )
        for response in responses
    ]
    weighted = pairs["split"].isin(MARGINAL_SPLITS)
    context = marginal_context(base_model["path"], marginal)
    without_query = [
        Item(context, response)
        for responses in zip(pairs["chosen_ids"][weighted], pairs["rejected_ids"][weighted], strict=True)
        for response in responses
    ]
    # One job for both: a worker takes seconds to start.
    scores = score_through_cache([*conditional, *without_query], base_model, compute, store, scratch)
    with_query, marginals = slice(len(conditional)), slice(len(conditional), None)
    table = pairs[["pair_id", "split"]].copy()
    table["reference_chosen_logp"] = scores.logps[with_query][0::2]
    table["reference_rejected_logp"] = scores.logps[with_query][1::2]
    table.loc[weighted, "marginal_chosen_logp"] = scores.logps[marginals][0::2]
    table.loc[weighted, "marginal_rejected_logp"] = scores.logps[marginals][1::2]
    table["chosen_tokens"] = pairs["chosen_ids"].map(len).astype("int32")
    table["rejected_tokens"] = pairs["rejected_ids"].map(len).astype("int32")
    report = {
        "pairs": len(pairs),
        "marginal_context": marginal,
        "conditional": scores.count(with_query),
        "marginal": scores.count(marginals),
        "forward_passes": scores.forward_passes,
        "seconds": round(time.monotonic() - started, 3),
        "cache_rows": len(store),
    }
    return table, report


def marginal_context(model: str, marginal: str) -> list[int]:
    """Return the token ids of the context that stands for "no query".

    Raises:
        ValueError: unknown choice, or ``bos`` for a tokenizer that has no such token.
    """
    tokenizer = load_tokenizer(model)
    if marginal == "empty_prompt":
        return encode_prompts(tokenizer, [[{"role": "user", "content": ""}]])[0]
    if marginal != "bos":
        raise ValueError(f"comprehension.marginal = {marginal!r}: there are empty_prompt, bos")
    if tokenizer.bos_token_id is None:
        raise ValueError(
            f"comprehension.marginal = bos, and the tokenizer of {model} has no beginning-of-sequence token; use empty_prompt"
        )
    return [int(tokenizer.bos_token_id)]

"""The marginal log pi_ref(y) of a response: which contexts stand for "no query", and how their log-probs become one.

``empty_prompt`` and ``bos`` score the response in one context (reconstructed). ``contrastive`` (ours, in the form of InfoNCE, van den
Oord et al., arXiv 1807.03748) takes the mean of pi_ref(y | x_j) over the response's own query and K others:

    log pi_ref(y) ~ log [ (pi_ref(y | x) + sum_j pi_ref(y | x_j)) / (K + 1) ]

so that the mutual information of a whole response is at most log(K + 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from bdpo_pipeline.models.encoding import encode_prompts
from bdpo_pipeline.models.loading import load_tokenizer

Context = tuple[int, ...]


@dataclass(frozen=True)
class Marginal:
    """How the marginal is estimated.

    Attributes:
        kind: ``empty_prompt``, ``bos`` or ``contrastive``.
        queries: K of ``contrastive``.
        seed: of the choice of the K queries.
    """

    kind: str
    queries: int
    seed: int

    @property
    def includes_own_query(self) -> bool:
        """Whether the response's own query is one of the contexts."""
        return self.kind == "contrastive"


def marginal_contexts(
    model: str, marginal: Marginal, prompts: Sequence[Sequence[int]], pool: Sequence[Sequence[int]]
) -> list[list[Context]]:
    """Return for each prompt the contexts, as token ids, in which its responses are scored beside the prompt itself.

    The other queries of ``contrastive`` are the same for all prompts, as far as a prompt is not one of them: so their computation is
    shared, and a pair more or less leaves the log-probs of the others in the cache.

    Args:
        model: folder of the model.
        marginal: how.
        prompts: token ids of the prompts.
        pool: token ids of prompts to take other queries from.

    Raises:
        ValueError: ``bos`` for a tokenizer without such a token, or too few different prompts in the pool.
    """
    if marginal.kind != "contrastive":
        return [[single_context(model, marginal.kind)]] * len(prompts)
    drawn = sorted({tuple(ids) for ids in pool}, key=lambda ids: _draw(ids, marginal.seed))
    if len(drawn) <= marginal.queries:
        raise ValueError(
            f"comprehension.contrastive_queries = {marginal.queries} and there are {len(drawn)} different training prompts: "
            "it takes at least one more prompt than queries"
        )
    panel = drawn[: marginal.queries + 1]
    return [[ids for ids in panel if ids != tuple(prompt)][: marginal.queries] for prompt in prompts]


def single_context(model: str, kind: str) -> Context:
    """Return the token ids of the one context that stands for no query.

    Raises:
        ValueError: ``bos`` for a tokenizer that has no such token.
    """
    tokenizer = load_tokenizer(model)
    if kind == "empty_prompt":
        return tuple(encode_prompts(tokenizer, [[{"role": "user", "content": ""}]])[0])
    if tokenizer.bos_token_id is None:
        raise ValueError(
            f"comprehension.marginal = bos, and the tokenizer of {model} has no beginning-of-sequence token; use empty_prompt"
        )
    return (int(tokenizer.bos_token_id),)


def combine(marginal: Marginal, conditional: Any, others: Any) -> Any:
    """Return log pi_ref(y) of responses, nats, ``[responses]``.

    Args:
        marginal: how.
        conditional: numpy array of log pi_ref(y | x), ``[responses]``.
        others: numpy array of log-probs in the contexts of :func:`marginal_contexts`, ``[responses, contexts]``.
    """
    import numpy as np

    parts = np.column_stack([conditional, others]) if marginal.includes_own_query else others
    return np.logaddexp.reduce(parts, axis=1) - np.log(parts.shape[1])


def _draw(ids: Context, seed: int) -> bytes:
    return blake2b(repr((seed, ids)).encode(), digest_size=8).digest()

"""The marginal log pi_ref(y) of a response: which contexts stand for "no query", and how their log-probs become one.

``empty_prompt`` and ``bos`` (reconstructed) score the response in one context, under some distribution q(y). ``contrastive`` (ours, in
the form of InfoNCE, van den Oord et al., arXiv 1807.03748) takes the mean over the response's own query and K others:

    log pi_ref(y) ~ log [ (pi_ref(y | x) + sum_j pi_ref(y | x_j)) / (K + 1) ]

Over responses drawn from the model, with MI the exact mutual information and log p(y) the exact marginal:

- the pointwise MI of one context averages to MI + KL(p || q): never too small;
- that of ``contrastive`` averages, over the choice of the others, to at most MI, and to MI where they are all there are, equally
  likely. No response gets more than log(K + 1).
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

    Raises:
        ValueError: ``contrastive`` without other queries.
    """

    kind: str
    queries: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.includes_own_query and self.queries < 1:
            raise ValueError(f"contrastive with {self.queries} other queries: it takes at least one")

    @property
    def includes_own_query(self) -> bool:
        """Whether the response's own query is one of the contexts."""
        return self.kind == "contrastive"


def marginal_contexts(
    model: str, marginal: Marginal, prompts: Sequence[Sequence[int]], pool: Sequence[Sequence[int]]
) -> list[list[Context]]:
    """Return for each prompt the contexts, as token ids, in which its responses are scored beside the prompt itself.

    The other queries of ``contrastive`` are drawn once for all prompts; a prompt that was drawn itself gets the next one instead. So
    responses share the computation of contexts, those of few queries are the first of those of many, and a further prompt in the
    pool changes at most one of them.

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
    drawn = sorted({_plain(ids) for ids in pool}, key=lambda ids: _draw(ids, marginal.seed))
    if len(drawn) <= marginal.queries:
        raise ValueError(
            f"comprehension.contrastive_queries = {marginal.queries} and there are {len(drawn)} different training prompts: "
            "it takes at least one more prompt than queries"
        )
    panel = drawn[: marginal.queries + 1]
    return [[ids for ids in panel if ids != own][: marginal.queries] for own in map(_plain, prompts)]


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


def _plain(ids: Sequence[int]) -> Context:
    """Return ids from memory (lists) or from a file (arrays) in one form, so that they are drawn alike."""
    return tuple(int(token) for token in ids)


def _draw(ids: Context, seed: int) -> bytes:
    return blake2b(repr((seed, ids)).encode(), digest_size=8).digest()

"""Greedy answers to many prompts at a time, over the model library's key-value cache.

What all prompts begin with, such as a system prompt, is computed once. A row whose answer has ended leaves the cache at once, and
waiting prompts take the room, so no forward pass computes what nobody reads. Each answer is the one that the prompt gets alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from bdpo_pipeline.engine.layout import common_beginning

Layers = list[tuple[Tensor, Tensor]]
# Prompts join in groups: a cache is copied whenever rows join it.
_GROUPS_PER_BATCH = 4


@dataclass
class _Rows:
    """Answers in the making.

    Attributes:
        places: of their prompts in the list.
        answers: token ids so far.
        cache: keys and values, right-aligned: ``[rows, heads, width, …]`` a layer.
        mask: which of the width hold a token of the row, ``[rows, width]``.
        newest: the token to be read next, ``[rows]``.
    """

    places: list[int]
    answers: list[list[int]]
    cache: DynamicCache
    mask: Tensor
    newest: Tensor


@dataclass(frozen=True)
class Answering:
    """``answering(prompts)`` yields places of prompts whose answers have ended, and the answers' token ids with the end token.

    Attributes:
        policy: the model; an adapter on it is as it stands while answers are made.
        device: of the model.
        ends: tokens that end an answer.
        max_new_tokens: an answer is cut there.
        batch_size: most answers in the making.
        cache_bytes: most bytes of keys and values, reckoned as if every answer ran to its bound; one group of prompts is always let in.
        tokens_per_batch: most places of a forward pass over prompts, padding included, unless a prompt alone has more.
    """

    policy: Any
    device: torch.device
    ends: set[int]
    max_new_tokens: int
    batch_size: int
    cache_bytes: int
    tokens_per_batch: int

    def __call__(self, prompts: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], list[list[int]]]]:
        """Answer the prompts, given by their token ids; those of like length should stand together."""
        shared = common_beginning(prompts)
        beginning = self._read_beginning(prompts[0][:shared]) if shared else []
        waiting = self._groups([len(prompt) - shared for prompt in prompts])
        rows: _Rows | None = None
        while waiting or rows:
            while waiting and (rows is None or self._has_room(rows, waiting[0], prompts)):
                group = waiting.pop(0)
                joining = self._read(group, [prompts[place][shared:] for place in group], beginning)
                rows = joining if rows is None else _join(rows, joining)
            if rows is None:
                return
            for answer, token in zip(rows.answers, rows.newest.tolist(), strict=True):
                answer.append(token)
            ended = [a[-1] in self.ends or len(a) == self.max_new_tokens for a in rows.answers]
            if any(ended):
                done = [i for i, is_over in enumerate(ended) if is_over]
                yield [rows.places[i] for i in done], [rows.answers[i] for i in done]
                rows = _select(rows, [i for i, is_over in enumerate(ended) if not is_over])
            if rows is not None:
                self._step(rows)

    def _groups(self, lengths: list[int]) -> list[list[int]]:
        """Group places of prompts, in their order, by what one forward pass may hold."""
        most = max(1, self.batch_size // _GROUPS_PER_BATCH)
        groups: list[list[int]] = []
        longest = 0
        for place, length in enumerate(lengths):
            longest = max(longest, length)
            if groups and len(groups[-1]) < most and (len(groups[-1]) + 1) * longest <= self.tokens_per_batch:
                groups[-1].append(place)
            else:
                groups.append([place])
                longest = length
        return groups

    def _has_room(self, rows: _Rows, group: list[int], prompts: Sequence[Sequence[int]]) -> bool:
        number = len(rows.places) + len(group)
        longest = max(len(prompts[place]) for place in [*rows.places, *group])
        per_place = sum(part.nbytes for layer in _layers(rows.cache) for part in layer) / rows.mask.numel()
        return (
            number <= self.batch_size
            and number * (longest + self.max_new_tokens) * per_place <= self.cache_bytes
        )

    def _read_beginning(self, ids: Sequence[int]) -> Layers:
        cache = DynamicCache()
        self._forward(torch.tensor([list(ids)]), torch.ones(1, len(ids), dtype=torch.long), cache)
        return _layers(cache)

    def _read(self, places: list[int], rests: list[Sequence[int]], beginning: Layers) -> _Rows:
        """Read the rests of prompts after their common beginning."""
        rows, width = len(rests), max(map(len, rests))
        seen = beginning[0][0].shape[2] if beginning else 0
        cache = DynamicCache(
            [(k.expand(rows, -1, -1, -1), v.expand(rows, -1, -1, -1)) for k, v in beginning] or None
        )
        ids = torch.tensor([[0] * (width - len(rest)) + list(rest) for rest in rests])
        mask = torch.tensor([[1] * seen + [0] * (width - len(rest)) + [1] * len(rest) for rest in rests])
        return _Rows(
            places, [[] for _ in rests], cache, mask.to(self.device), self._forward(ids, mask, cache)
        )

    def _step(self, rows: _Rows) -> None:
        rows.mask = pad(rows.mask, (0, 1), value=1)
        rows.newest = self._forward(rows.newest[:, None], rows.mask, rows.cache)

    def _forward(self, ids: Tensor, mask: Tensor, cache: DynamicCache) -> Tensor:
        """Read tokens ``[rows, new]`` behind what the cache holds; return the likeliest next token of each row."""
        mask = mask.to(self.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        logits: Tensor = self.policy(
            input_ids=ids.to(self.device),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return logits[:, -1].argmax(-1)


def _layers(cache: DynamicCache) -> Layers:
    return [(keys, values) for keys, values, *_ in cache]


def _join(above: _Rows, below: _Rows) -> _Rows:
    width = max(above.mask.shape[1], below.mask.shape[1])

    def stack(one: Tensor, other: Tensor) -> Tensor:
        return torch.cat([pad(part, (0, 0, width - part.shape[2], 0)) for part in (one, other)])

    layers = zip(_layers(above.cache), _layers(below.cache), strict=True)
    masks = [pad(rows.mask, (width - rows.mask.shape[1], 0)) for rows in (above, below)]
    return _Rows(
        above.places + below.places,
        above.answers + below.answers,
        DynamicCache([(stack(k, k_below), stack(v, v_below)) for (k, v), (k_below, v_below) in layers]),
        torch.cat(masks),
        torch.cat([above.newest, below.newest]),
    )


def _select(rows: _Rows, kept: list[int]) -> _Rows | None:
    """Keep some of the rows, and of the width what these need."""
    if not kept:
        return None
    index = torch.tensor(kept, device=rows.mask.device)
    mask = rows.mask[index]
    first = int(mask.any(0).int().argmax())
    return _Rows(
        [rows.places[i] for i in kept],
        [rows.answers[i] for i in kept],
        DynamicCache([(k[index, :, first:], v[index, :, first:]) for k, v in _layers(rows.cache)]),
        mask[:, first:],
        rows.newest[index],
    )

"""How responses are laid out for one forward pass: a context once, then each of its responses, none seeing another.

A row is ``context + response_1 + response_2 + ...``. An attention mask lets a response see the context and itself; positions restart
after the context. So a prompt is computed once for chosen and rejected, and one empty context serves many marginals. The last
token of a response is only ever predicted, never read, and takes no place in the row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Row:
    """A context and the responses that are scored after it, as token ids; none of them empty."""

    context: list[int]
    responses: list[list[int]]

    @property
    def tokens(self) -> int:
        """Number of places that the row takes."""
        return len(self.context) + sum(len(response) - 1 for response in self.responses)


@dataclass(frozen=True)
class Batch:
    """Rows as tensors, padded to the longest.

    Attributes:
        input_ids: ``[rows, length]``.
        position_ids: ``[rows, length]``.
        attention_mask: bool ``[rows, 1, length, length]``, true where a query (third axis) sees a key (fourth).
        sources: ``[scored]``, places in the flattened ``[rows * length]`` whose output predicts ``targets``.
        targets: ``[scored]``, token ids, response after response.
        lengths: number of scored tokens of each response, rows in order and their responses in order.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    sources: Tensor
    targets: Tensor
    lengths: list[int]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on ``device``."""
        return Batch(
            self.input_ids.to(device),
            self.position_ids.to(device),
            self.attention_mask.to(device),
            self.sources.to(device),
            self.targets.to(device),
            self.lengths,
        )


def build_batch(rows: Sequence[Row]) -> Batch:
    """Lay out rows for one forward pass."""
    length = max(row.tokens for row in rows)
    # Padding uses token 0: whatever stands there is masked, and no output of it is read.
    input_ids = torch.zeros(len(rows), length, dtype=torch.long)
    position_ids = torch.zeros(len(rows), length, dtype=torch.long)
    segments = torch.full((len(rows), length), -1)
    sources: list[int] = []
    targets: list[int] = []
    lengths: list[int] = []
    for i, row in enumerate(rows):
        prompt = len(row.context)
        ids, positions, segment = list(row.context), list(range(prompt)), [0] * prompt
        for number, response in enumerate(row.responses, start=1):
            start = i * length + len(ids)
            sources += [i * length + prompt - 1, *range(start, start + len(response) - 1)]
            targets += response
            lengths.append(len(response))
            ids += response[:-1]
            positions += range(prompt, prompt + len(response) - 1)
            segment += [number] * (len(response) - 1)
        input_ids[i, : len(ids)] = torch.tensor(ids)
        position_ids[i, : len(ids)] = torch.tensor(positions)
        segments[i, : len(ids)] = torch.tensor(segment)
    return Batch(
        input_ids,
        position_ids,
        _attention_mask(segments),
        torch.tensor(sources),
        torch.tensor(targets),
        lengths,
    )


def _attention_mask(segments: Tensor) -> Tensor:
    length = segments.shape[1]
    query, key = segments[:, :, None], segments[:, None, :]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    visible = causal & ((key == 0) | (key == query))
    # A padded place sees itself: a query that sees nothing would be NaN and spread through the backward pass.
    return visible[:, None]


def plan_batches(rows: Sequence[Row], tokens_per_batch: int) -> list[list[int]]:
    """Group row numbers into batches of rows of like length, each at most ``tokens_per_batch`` places, padding included.

    A row that is longer than the bound gets a batch of its own. Longest first, so that a lack of memory shows at once.
    """
    order = sorted(range(len(rows)), key=lambda i: (-rows[i].tokens, i))
    batches: list[list[int]] = []
    for i in order:
        longest = rows[batches[-1][0]].tokens if batches else 0
        if batches and longest * (len(batches[-1]) + 1) <= tokens_per_batch:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches

"""How responses are laid out for one forward pass: what they share is computed once, and nothing is padded.

A batch is one sequence of places, cut into segments that form a tree: what all contexts begin with (such as a system prompt), then the
rest of each context, then each of its responses. A segment sees the segments above it and itself, so a prompt is computed once for
chosen and rejected, and one empty context serves many marginals. Positions go on from the segment above. The last token of a
response is only ever predicted, never read, and takes no place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bdpo_pipeline.engine.block_mask import block_mask

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


@dataclass(frozen=True)
class Row:
    """A context and the responses that are scored after it, as token ids; none of them empty."""

    context: list[int]
    responses: list[list[int]]

    @property
    def tokens(self) -> int:
        """Number of places that the row takes by itself."""
        return len(self.context) + sum(len(response) - 1 for response in self.responses)


@dataclass(frozen=True)
class Segment:
    """Consecutive places.

    Attributes:
        length: how many.
        path: numbers of the segments that it sees, itself last.
    """

    length: int
    path: list[int]


@dataclass(frozen=True)
class SegmentTree:
    """Which place sees which.

    The masks are made when they are first asked for, where the tree is, and kept: all layers of a forward pass share them, and so does
    the forward pass that activation checkpointing computes again. Each way of attending asks for its own.

    Attributes:
        segments: of the places, in order, those below a segment right behind it.
        reach: int32 ``[places]``, the first place behind the segments below a place's own, up to which it is seen: place q sees place k
            if and only if ``k <= q < reach[k]``.
    """

    segments: list[Segment]
    reach: Tensor

    def to(self, device: torch.device) -> "SegmentTree":
        """Return the tree on ``device``."""
        return SegmentTree(self.segments, self.reach.to(device))

    @cached_property
    def masks(self) -> list[Tensor]:
        """Of each segment, bool ``[length, length of the path]``, true where a place sees another."""
        return [_causal_mask(segment, self.segments, self.reach.device) for segment in self.segments]

    @cached_property
    def mask(self) -> Tensor:
        """Of all places, bool ``[places, places]``, true where the first sees the second."""
        place = torch.arange(len(self.reach), dtype=torch.int32, device=self.reach.device)
        return (place <= place[:, None]) & (place[:, None] < self.reach)

    @cached_property
    def block_mask(self) -> "BlockMask":
        """The same for flex attention, with places added at the end: see :func:`~bdpo_pipeline.engine.block_mask.block_mask`."""
        return block_mask(self.reach)


def _causal_mask(segment: Segment, segments: list[Segment], device: torch.device) -> Tensor:
    seen = sum(segments[i].length for i in segment.path)
    mask = torch.ones(segment.length, seen, dtype=torch.bool, device=device)
    return mask.tril(seen - segment.length)


@dataclass(frozen=True)
class Batch:
    """Rows as one sequence.

    Attributes:
        input_ids: ``[1, places]``.
        position_ids: ``[1, places]``.
        segments: of the places.
        row_places: number of places of each row, what it shares with others left out.
        sources: ``[scored]``, places whose output predicts ``targets``.
        targets: ``[scored]``, token ids, response after response.
        lengths: number of scored tokens of each response, rows in order and their responses in order.
    """

    input_ids: Tensor
    position_ids: Tensor
    segments: SegmentTree
    row_places: list[int]
    sources: Tensor
    targets: Tensor
    lengths: list[int]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on ``device``."""
        return Batch(
            self.input_ids.to(device),
            self.position_ids.to(device),
            self.segments.to(device),
            self.row_places,
            self.sources.to(device),
            self.targets.to(device),
            self.lengths,
        )


def build_batch(rows: Sequence[Row], *, share_beginnings: bool = True) -> Batch:
    """Lay out rows for one forward pass.

    Args:
        rows: at least one.
        share_beginnings: whether what all contexts begin with is computed once.
    """
    shared = common_beginning([row.context for row in rows]) if share_beginnings else 0
    layout = _Layout()
    beginning = layout.add(rows[0].context[:shared], []) if shared else []
    row_places = []
    for row in rows:
        before = len(layout.ids)
        context = layout.add(row.context[shared:], beginning)
        last = len(layout.ids) - 1
        for response in row.responses:
            start = len(layout.ids)
            layout.sources += [last, *range(start, start + len(response) - 1)]
            layout.targets += response
            layout.lengths.append(len(response))
            if len(response) > 1:
                layout.add(response[:-1], context)
        row_places.append(len(layout.ids) - before)
    return Batch(
        torch.tensor([layout.ids]),
        torch.tensor([layout.positions]),
        SegmentTree(layout.segments, layout.reach()),
        row_places,
        torch.tensor(layout.sources),
        torch.tensor(layout.targets),
        layout.lengths,
    )


class _Layout:
    """A batch in the making."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.segments: list[Segment] = []
        self.sources: list[int] = []
        self.targets: list[int] = []
        self.lengths: list[int] = []

    def add(self, ids: list[int], above: list[int]) -> list[int]:
        """Add a segment below others; return its path."""
        seen = sum(self.segments[i].length for i in above)
        length = len(ids)
        path = [*above, len(self.segments)]
        self.segments.append(Segment(length, path))
        self.ids += ids
        self.positions += range(seen, seen + length)
        return path

    def reach(self) -> Tensor:
        """Return the reach of each place: see `SegmentTree`."""
        ends: list[int] = []
        for segment in self.segments:
            end = (ends[-1] if ends else 0) + segment.length
            ends.append(end)
            for above in segment.path[:-1]:
                ends[above] = end
        by_segment = zip(ends, self.segments, strict=True)
        return torch.tensor(
            [end for end, segment in by_segment for _ in range(segment.length)], dtype=torch.int32
        )


def common_beginning(contexts: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all contexts begin with alike, so that each keeps a token of its own; 0 for a single one."""
    if len(contexts) < 2:
        return 0
    longest = min(map(len, contexts)) - 1
    alike = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*contexts, strict=False))
    return max(min(sum(1 for _ in alike), longest), 0)


def plan_batches(rows: Sequence[Row], tokens_per_batch: int) -> list[list[int]]:
    """Group row numbers into batches of at most ``tokens_per_batch`` places, counted as if nothing were shared between rows.

    A row that is longer than the bound gets a batch of its own. Longest first, so that a lack of memory shows at once.
    """
    order = sorted(range(len(rows)), key=lambda i: (-rows[i].tokens, i))
    batches: list[list[int]] = []
    room: list[int] = []
    for i in order:
        # The first batch that still has room for it: what is left open by long rows is filled by short ones.
        place = next((k for k, left in enumerate(room) if left >= rows[i].tokens), None)
        if place is None:
            batches.append([])
            room.append(tokens_per_batch)
            place = len(batches) - 1
        batches[place].append(i)
        room[place] -= rows[i].tokens
    return batches

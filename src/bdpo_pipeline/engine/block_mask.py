"""Which blocks of places see which, for flex attention, straight from how far each place is seen."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

BLOCK = 128
# With at least two blocks, never one: the compiler makes a kernel of its own for a size of one, and torch takes another kernel yet
# below 128 places. From here on one kernel serves batches of every size.
_LEAST_BLOCKS = 2


def block_mask(reach: Tensor) -> "BlockMask":
    """Return the block mask over the places, with places behind them that fill up the blocks and see nothing but themselves.

    Torch's own ``create_block_mask`` looks at every pair of places: uncompiled it takes their whole square several times over, compiled
    it is one more program to wait for. As place q sees place k if and only if ``k <= q < reach[k]``, the extremes of ``reach`` in a
    block tell as much.

    Args:
        reach: int32 ``[places]``; see `layout.SegmentTree`.
    """
    from torch.nn.attention.flex_attention import BlockMask

    places = len(reach)
    blocks = max(_LEAST_BLOCKS, -(-places // BLOCK))
    padding = torch.arange(places + 1, blocks * BLOCK + 1, dtype=reach.dtype, device=reach.device)
    reach = torch.cat([reach, padding])
    longest, shortest = reach.view(blocks, BLOCK).amax(1), reach.view(blocks, BLOCK).amin(1)
    number = torch.arange(blocks, device=reach.device)
    first = number[:, None] * BLOCK
    above = number < number[:, None]
    some = above & (longest > first) | torch.eye(blocks, dtype=torch.bool, device=reach.device)
    full = above & (shortest >= first + BLOCK)

    def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < reach[key])

    return BlockMask.from_kv_blocks(
        *_listed(some & ~full),
        *_listed(full),
        BLOCK_SIZE=BLOCK,
        mask_mod=sees,
        seq_lengths=(blocks * BLOCK, blocks * BLOCK),
    )


def _listed(seen: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many blocks each block sees, and which: those first."""
    numbers = seen.int().argsort(dim=1, descending=True, stable=True)
    return seen.sum(1, dtype=torch.int32)[None, None], numbers.int()[None, None]

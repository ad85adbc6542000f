"""Attention over all places at once with a mask: a GPU's way where flex attention does not run."""

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from bdpo_pipeline.engine.layout import SegmentTree


def attend_densely(query: Tensor, key: Tensor, value: Tensor, tree: SegmentTree, scaling: float) -> Tensor:
    """Return ``[1, heads, places, width]``; for the arguments see `attention.attend`.

    It costs the square of the places, but one launch a layer instead of one a segment. Keys and values are repeated here for the
    query heads that share them: with a mask, torch's memory-efficient kernel takes equal numbers of heads only, and anything else
    would hold the scores of all places in memory.
    """
    shared_by = query.shape[1] // key.shape[1]
    if shared_by > 1:
        key, value = key.repeat_interleave(shared_by, dim=1), value.repeat_interleave(shared_by, dim=1)
    return scaled_dot_product_attention(query, key, value, attn_mask=tree.mask, scale=scaling)

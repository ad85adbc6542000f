"""Attention segment by segment, each with its path and nothing else: no work on what is masked, and the choice on a CPU."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from bdpo_pipeline.engine.layout import SegmentTree


def attend_by_loop(query: Tensor, key: Tensor, value: Tensor, tree: SegmentTree, scaling: float) -> Tensor:
    """Return ``[1, heads, places, width]``; for the arguments see `attention.attend`."""
    lengths = [segment.length for segment in tree.segments]
    # Split, not sliced: the gradient of a split is one concatenation, that of a slice as much memory as the whole.
    queries, keys, values = (tensor.split(lengths, dim=2) for tensor in (query, key, value))
    # Torch's fused attention is slow on a CPU in reduced precision, its backward pass most of all.
    by_products = query.device.type == "cpu" and query.dtype != torch.float32
    attend_segment = _attend_by_products if by_products else _attend_fused
    outputs = [
        attend_segment(queries[i], _joined(keys, segment.path), _joined(values, segment.path), mask, scaling)
        for i, (segment, mask) in enumerate(zip(tree.segments, tree.masks, strict=True))
    ]
    return torch.cat(outputs, dim=2)


def _attend_fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float) -> Tensor:
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    )


def _attend_by_products(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float) -> Tensor:
    """Attend by two matrix products, the query heads of one key head in one."""
    groups, length = key.shape[1], query.shape[2]
    grouped = (query * scaling).reshape(groups, -1, query.shape[3])
    scores = torch.bmm(grouped, key[0].transpose(1, 2)).view(groups, -1, *mask.shape)
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    return torch.bmm(weights.view(groups, -1, mask.shape[1]), value[0]).view(1, -1, length, value.shape[3])


def _joined(parts: Sequence[Tensor], path: Sequence[int]) -> Tensor:
    return parts[path[0]] if len(path) == 1 else torch.cat([parts[i] for i in path], dim=2)

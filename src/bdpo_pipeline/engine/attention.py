"""Attention over a batch's tree of segments, in the place of the model library's own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from bdpo_pipeline.engine.layout import Segment

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NAME = "segments"


class UnsupportedAttentionError(RuntimeError):
    """The model's attention does more than the engine's."""


def attend(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _attention_mask: Tensor | None,
    *,
    segments: Sequence[Segment],
    scaling: float,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend from each segment to those on its path; the signature is that of transformers' attention functions.

    Each segment is computed for itself, with its path and nothing else: no work on what is masked.

    Args:
        query: ``[1, heads, places, width]``.
        key: ``[1, key heads, places, width]``.
        value: as ``key``.
        segments: of the places.
        scaling: of the scores.
        dropout: of the weights; not supported.
        softcap: bound of the scores; not supported.
        s_aux: attention sinks; not supported.

    Returns:
        ``[1, places, heads, width]``, and no weights.

    Raises:
        UnsupportedAttentionError: the model asks for what is not supported.
    """
    asked = {"dropout": dropout or None, "softcap": softcap, "attention sinks": s_aux}
    for feature, given in asked.items():
        if given is not None:
            raise UnsupportedAttentionError(
                f"this model attends with {feature}, which the engine's attention does not reproduce"
            )
    lengths = [segment.length for segment in segments]
    # Split, not sliced: the gradient of a split is one concatenation, that of a slice as much memory as the whole.
    queries, keys, values = (tensor.split(lengths, dim=2) for tensor in (query, key, value))
    # Torch's fused attention is slow on a CPU in reduced precision, its backward pass most of all.
    by_products = query.device.type == "cpu" and query.dtype != torch.float32
    attend_segment = _attend_by_products if by_products else _attend_fused
    outputs = [
        attend_segment(
            queries[i], _joined(keys, segment.path), _joined(values, segment.path), segment.mask, scaling
        )
        for i, segment in enumerate(segments)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2), None


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


def use_segments(model: "PreTrainedModel") -> None:
    """Let a model attend by segments from now on; its forward pass then takes ``segments``.

    For good, and not for one pass: activation checkpointing computes a forward pass again in the backward pass.
    """
    if model.config._attn_implementation != _NAME:
        from transformers import AttentionInterface

        AttentionInterface.register(_NAME, attend)
        model.set_attn_implementation(_NAME)


@contextmanager
def usual_attention(model: "PreTrainedModel") -> Iterator[None]:
    """Let a model attend in the model library's way within the block."""
    found = model.config._attn_implementation
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(found)

"""Attention over a batch's tree of segments, in the place of the model library's own."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bdpo_pipeline.engine.attention_dense import attend_densely
from bdpo_pipeline.engine.attention_flex import Attend, attend_by_flex, flex_fault
from bdpo_pipeline.engine.attention_loop import attend_by_loop
from bdpo_pipeline.engine.layout import SegmentTree

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)
WAYS: dict[str, Attend] = {
    "segments_loop": attend_by_loop,
    "segments_flex": attend_by_flex,
    "segments_dense": attend_densely,
}


class UnsupportedAttentionError(RuntimeError):
    """The model's attention does more than the engine's."""


def attend(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _attention_mask: Tensor | None,
    *,
    way: Attend = attend_by_loop,
    segments: SegmentTree,
    scaling: float,
    twice_differentiable: bool = False,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend from each segment to those on its path; the signature is that of transformers' attention functions.

    Args:
        query: ``[1, heads, places, width]``.
        key: ``[1, key heads, places, width]``.
        value: as ``key``.
        way: how.
        segments: of the places.
        scaling: of the scores.
        twice_differentiable: whether the gradient itself is to be differentiated, for which there is but the loop.
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
    way = attend_by_loop if twice_differentiable else way
    return way(query, key, value, segments, scaling).transpose(1, 2), None


@cache
def attention_for(device: torch.device, dtype: torch.dtype, *, heads: int, key_heads: int, width: int) -> str:
    """Return which of `WAYS` a model attends in, and log why.

    Found out once in a process. On a CPU a loop over segments does no work in vain; on a GPU it would wait for the launch of each.

    Args:
        device: where the model is.
        dtype: of its activations.
        heads: number of query heads.
        key_heads: number of key heads.
        width: of a head.
    """
    if device.type == "cpu":
        return "segments_loop"
    fault = flex_fault(device, dtype, heads=heads, key_heads=key_heads, width=width)
    shape = f"{heads} heads over {key_heads} of width {width} in {dtype} on {device}"
    if fault is None:
        logger.info("Attention: flex attention, tried for %s", shape)
        return "segments_flex"
    logger.warning(
        "Attention: all places with a mask, in time and memory that grow with their square, as flex attention "
        "does not run for %s: %s",
        shape,
        fault,
    )
    return "segments_dense"


def use_segments(model: "PreTrainedModel") -> None:
    """Let a model attend by segments from now on; its forward pass then takes ``segments``.

    For good, and not for one pass: activation checkpointing computes a forward pass again in the backward pass. Only a model that was
    moved to another device may attend in another way.
    """
    from transformers import AttentionInterface

    config: Any = model.config
    heads = config.num_attention_heads
    name = attention_for(
        model.device,
        # What it was loaded in: sharding keeps weights that are trained in fp32 and computes in this.
        config.dtype or model.dtype,
        heads=heads,
        key_heads=getattr(config, "num_key_value_heads", None) or heads,
        width=getattr(config, "head_dim", None) or config.hidden_size // heads,
    )
    if config._attn_implementation != name:
        AttentionInterface.register(name, partial(attend, way=WAYS[name]))
        model.set_attn_implementation(name)


@contextmanager
def usual_attention(model: "PreTrainedModel") -> Iterator[None]:
    """Let a model attend in the model library's way within the block."""
    found = model.config._attn_implementation
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(found)

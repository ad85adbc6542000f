"""Attention over all places at once by torch's flex attention, which skips the blocks that no place sees: a GPU's way.

What is known of it, and why it is called as it is:

- Compiled once for batches of every size. Left to itself the compiler makes a kernel for the first size and at the second one with the
  size open, which then serves all, as `block_mask` sees to; `flex_fault` runs both before the first batch. With ``dynamic=True`` it
  would take the scale of the scores for a variable, too. ``fullgraph`` turns what is silent otherwise, a fall back to scores of all
  places in memory once too many kernels were compiled, into an error.
- Compiling takes a C compiler, Triton and time, before the first batch; torch keeps the result on disk for the next process.
- Several query heads for a key head: its kernels add up the gradient of a key over those heads within one program, so there are no
  atomic additions and the order of the sums is fixed. Nothing in torch promises that, though, so a GPU runs without torch's
  deterministic mode.
- Products of fp32 inputs are exact unless ``torch.set_float32_matmul_precision`` asks for less; the engine does not.
- Widths of a head that are no power of two are filled up inside the kernel; below 16 it has none.
- A GPU with little shared memory may not hold a kernel's blocks; that fails when the kernel is built, so that `flex_fault` sees it.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.functional import pad
from torch.utils._python_dispatch import _disable_current_modes

from bdpo_pipeline.engine.attention_dense import attend_densely
from bdpo_pipeline.engine.layout import Row, SegmentTree, build_batch

# Two sizes: see above.
TRIAL_ROWS = (2, 3)
Attend = Callable[[Tensor, Tensor, Tensor, SegmentTree, float], Tensor]


def attend_by_flex(query: Tensor, key: Tensor, value: Tensor, tree: SegmentTree, scaling: float) -> Tensor:
    """Return ``[1, heads, places, width]``; for the arguments see `attention.attend`. It cannot be differentiated twice."""
    blocks = tree.block_mask
    query, key, value = (_filled_up(tensor, blocks.shape[-1]) for tensor in (query, key, value))
    if isinstance(query, FakeTensor):
        output: Tensor = _WithoutContent.apply(query, key, value)  # type: ignore[no-untyped-call]
    else:
        output = _compiled()(
            query, key, value, block_mask=blocks, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
        )
    return output[:, :, : len(tree.reach)]


class _WithoutContent(torch.autograd.Function):
    """What the kernels take in memory, for tensors without content, as a budget is found out with: a compiled kernel takes no others."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = torch.empty_like(query)
        log_sums = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, output, log_sums)
        return output

    @staticmethod
    def backward(ctx: Any, _gradient: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


@cache
def _compiled() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    compiled: Callable[..., Tensor] = torch.compile(flex_attention, fullgraph=True)
    return compiled


def _filled_up(heads: Tensor, places: int) -> Tensor:
    """Add places behind those of ``[1, heads, places, width]``.

    Places come before heads in memory, as the model library has them, with and without padding: other strides would mean another
    kernel.
    """
    by_place = heads.transpose(1, 2)
    missing = places - by_place.shape[1]
    filled = pad(by_place, (0, 0, 0, 0, 0, missing)) if missing else by_place
    return filled.contiguous().transpose(1, 2)


def flex_fault(
    device: torch.device,
    dtype: torch.dtype,
    *,
    heads: int,
    key_heads: int,
    width: int,
    attend: Attend = attend_by_flex,
) -> str | None:
    """Return what is wrong with flex attention for a model here, None if it gives what `attend_densely` gives, gradients included.

    Args:
        device: where the model is.
        dtype: of its activations.
        heads: number of query heads.
        key_heads: number of key heads.
        width: of a head.
        attend: what is tried.
    """
    # Away from whatever modes the caller is in: without gradients, or without content.
    with _disable_current_modes(), torch.inference_mode(False), torch.enable_grad():
        try:
            error = max(_error(attend, device, dtype, rows, heads, key_heads, width) for rows in TRIAL_ROWS)
        except Exception as fault:  # noqa: BLE001 - a compiler may fail in any way; what it says is reported, and there is another way
            return f"{type(fault).__name__}: {fault}"
    return (
        None if error < (1e-3 if dtype == torch.float32 else 5e-2) else f"its results are off by {error:.1e}"
    )


def _error(
    attend: Attend,
    device: torch.device,
    dtype: torch.dtype,
    rows: int,
    heads: int,
    key_heads: int,
    width: int,
) -> float:
    """Return the largest difference to dense attention, in output and gradients, relative to their largest entry."""
    tree = trial_tree(rows).to(device)
    generator = torch.Generator().manual_seed(rows)

    def draw(number: int) -> Tensor:
        return torch.randn(1, number, len(tree.reach), width, generator=generator).to(device, dtype)

    inputs, slope = [draw(heads), draw(key_heads), draw(key_heads)], draw(heads)
    found, expected = (_with_gradients(way, inputs, slope, tree) for way in (attend, attend_densely))
    # A maximum would hide a nan.
    errors = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True)]
    return max(errors) if all(map(math.isfinite, errors)) else math.inf


def trial_tree(rows: int) -> SegmentTree:
    """Return a tree whose blocks of places see others wholly, in part and not at all."""
    beginning = [0] * (2 * 128 + 20)
    return build_batch([Row([*beginning, i, *[0] * 99], [[0] * 150, [0] * 90]) for i in range(rows)]).segments


def _with_gradients(way: Attend, inputs: list[Tensor], slope: Tensor, tree: SegmentTree) -> list[Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    output = way(leaves[0], leaves[1], leaves[2], tree, leaves[0].shape[-1] ** -0.5)
    return [output.detach(), *torch.autograd.grad(output, leaves, slope)]

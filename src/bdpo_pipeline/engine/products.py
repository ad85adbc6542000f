"""Products with weights, by whichever library multiplies faster on this processor."""

import platform
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# Not of torch's public interface; what compiled models are made of.
_multiply: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_CPU_FACTS = Path("/proc/cpuinfo")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x @ weight.T + bias``, ``[..., in]`` to ``[..., out]``, as ``torch.nn.functional.linear`` does.

    In fp32 on a CPU torch multiplies by MKL, which on processors of other makers than its own reaches half to three quarters of what
    oneDNN does, which torch has on board, too. That one keeps no graph: where a gradient may be asked for, it is torch's usual way.
    """
    if torch.is_grad_enabled() or not (x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32):
        return nn.functional.linear(x, weight, bias)
    if x.numel() == 0 or not _is_faster():
        return nn.functional.linear(x, weight, bias)
    found: Tensor = _multiply(x, weight, bias, "none", [], "")
    return found


def use_products(model: nn.Module) -> None:
    """Let the linear layers of a model multiply by :func:`linear`, for passes that ask for no gradient."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.forward = partial(_forward, module)  # type: ignore[method-assign]


def _forward(module: Any, x: Tensor) -> Tensor:
    # Of places that do not lie together, such as the last one of every prompt, torch makes a product of batches and copies the weight
    # for each row: for a head in bf16 that was two thirds of the time of all answers.
    return linear(x.contiguous(), module.weight, module.bias)


@cache
def _is_faster() -> bool:
    """By maker, and not by a measurement: which it is must not depend on what else the machine does."""
    return (
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and _multiply is not None
        and "AuthenticAMD" in _maker()
    )


def _maker() -> str:
    return _CPU_FACTS.read_text() if _CPU_FACTS.exists() else platform.processor()

"""LoRA layers computed as one function: the frozen product, the adapter's, and a backward pass that keeps no copy of either."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import dropout

from bdpo_pipeline.engine.products import linear


class _LoraLinear(torch.autograd.Function):
    """y = x W' + b + s (x~ A') B', where x~ is x after dropout.

    The adapter's weights are kept in fp32 and multiplied in the type of x: PEFT casts x instead, which on a model in bf16 costs more
    than the adapter's products. Products are added into the output in place.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dropped: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        seen = flat if dropped is None else dropped.reshape(-1, x.shape[-1])
        a, b = a.to(x.dtype), b.to(x.dtype)
        hidden = seen @ a.T
        output = linear(flat, weight, bias)
        output.addmm_(hidden, b.T, alpha=scale)
        ctx.save_for_backward(seen, hidden, weight, a, b)
        ctx.scale, ctx.shape, ctx.has_dropout = scale, x.shape, dropped is not None
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        seen, hidden, weight, a, b = ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1])
        inner = (flat @ b).mul_(ctx.scale)
        to_x = to_dropped = None
        if ctx.needs_input_grad[0]:
            to_x = flat @ weight
            if ctx.has_dropout:
                to_dropped = (inner @ a).view(ctx.shape)
            else:
                to_x.addmm_(inner, a)
            to_x = to_x.view(ctx.shape)
        to_a = (inner.T @ seen).float()
        to_b = (flat.T @ hidden).mul_(ctx.scale).float()
        return to_x, to_dropped, None, None, to_a, to_b, None


def fuse_lora(policy: nn.Module) -> int:
    """Compute the LoRA layers of a PEFT model in one function each, and return how many; others stay PEFT's.

    Only plain LoRA on a plain linear layer is computed so; a quantised base layer, DoRA or a bias in the adapter is left alone.
    """
    from peft.tuners.lora import Linear

    plain = [module for module in policy.modules() if isinstance(module, Linear) and _is_plain(module)]
    for module in plain:
        module.forward = _fused_forward(module)  # type: ignore[method-assign]
    return len(plain)


def _is_plain(module: Any) -> bool:
    names = module.active_adapters
    return (
        len(names) == 1
        and type(module.base_layer) is nn.Linear
        and not module.base_layer.weight.requires_grad
        and not module.use_dora[names[0]]
        and not module.lora_bias[names[0]]
        and not module.fan_in_fan_out
    )


def _fused_forward(module: Any) -> Callable[..., Tensor]:
    [name] = module.active_adapters
    base, a, b = module.base_layer, module.lora_A[name], module.lora_B[name]
    rate = getattr(module.lora_dropout[name], "p", 0.0)

    def forward(x: Tensor, *_: Any, **__: Any) -> Tensor:
        if module.disable_adapters:
            return base(x)  # type: ignore[no-any-return]
        dropped = dropout(x, rate) if rate and module.training else None
        found: Tensor = _LoraLinear.apply(  # type: ignore[no-untyped-call]
            x, dropped, base.weight, base.bias, a.weight, b.weight, module.scaling[name]
        )
        return found

    return forward

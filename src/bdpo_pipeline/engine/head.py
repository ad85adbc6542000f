"""Log-probs of given tokens from hidden states, without ever holding the logits of all places at once.

A vocabulary of 50k in fp32 takes 200 kB a place, so the logits of one batch outweigh everything else in memory. Where the head is
frozen, as under LoRA, its gradient with respect to a hidden state h is known in the forward pass already:

    d log p(y | h) / d h = W_y - sum_v p(v | h) W_v

so each chunk of logits is used for both and dropped, at the cost of the two matrix products that the plain way takes, too.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_LOGIT_BYTES = 64 << 20


def token_logps(
    head: nn.Module, hidden: Tensor, targets: Tensor, *, twice_differentiable: bool = False
) -> Tensor:
    """Return log p(target | hidden) of each place, fp32, ``[places]``.

    Args:
        head: the language model head, ``[places, width]`` to ``[places, vocabulary]``.
        hidden: ``[places, width]``.
        targets: token ids, ``[places]``.
        twice_differentiable: whether the gradient itself is to be differentiated, for which all logits are kept.
    """
    frozen = not any(p.requires_grad for p in head.parameters())
    if isinstance(head, nn.Linear) and frozen and not twice_differentiable:
        return _frozen_logps(hidden, head.weight, head.bias, targets)
    logits: Tensor = head(hidden).float()
    return _gather(logits, targets) - logits.logsumexp(-1)


class _FrozenHead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        rows = max(1, _LOGIT_BYTES // (4 * weight.shape[0]))
        logps = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        slopes = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for part in torch.arange(len(hidden)).split(rows):
            places = slice(int(part[0]), int(part[-1]) + 1)
            logits = nn.functional.linear(hidden[places], weight, bias)
            everywhere = logits.log_softmax(-1, dtype=torch.float32)
            logps[places] = _gather(everywhere, targets[places])
            if slopes is not None:
                probabilities = everywhere.exp_().to(weight.dtype)
                slopes[places] = weight[targets[places]] - probabilities @ weight
        ctx.slopes = slopes
        return logps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return (gradient[:, None] * ctx.slopes).to(ctx.slopes.dtype), None, None, None


# apply of an autograd function carries no types.
_frozen_logps: Callable[[Tensor, Tensor, Tensor | None, Tensor], Tensor] = _FrozenHead.apply


def _gather(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.gather(-1, targets[:, None]).squeeze(-1)

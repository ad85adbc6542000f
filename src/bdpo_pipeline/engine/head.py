"""Log-probs of given tokens from hidden states, without ever holding the logits of all places at once.

A vocabulary of 50k in fp32 takes 200 kB a place, so the logits of one batch outweigh everything else in memory. The gradient of a
log-prob in the logits is known in the forward pass already:

    d log p(y | h) / d logits = onehot(y) - p(. | h)

Where the head is frozen, as under LoRA, so is the gradient in the hidden state h: each chunk of logits is used for both and dropped,
at the cost of the two matrix products that the plain way takes, too. A head that is trained needs the probabilities once more in the
backward pass: they are kept up to a bound, and computed again beyond it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bdpo_pipeline.engine.products import linear

_LOGIT_BYTES = 64 << 20
KEPT_BYTES = 256 << 20


def token_logps(
    head: nn.Module,
    hidden: Tensor,
    targets: Tensor,
    *,
    twice_differentiable: bool = False,
    kept_bytes: int = KEPT_BYTES,
) -> Tensor:
    """Return log p(target | hidden) of each place, fp32, ``[places]``.

    Args:
        head: the language model head, ``[places, width]`` to ``[places, vocabulary]``.
        hidden: ``[places, width]``.
        targets: token ids, ``[places]``.
        twice_differentiable: whether the gradient itself is to be differentiated, for which all logits are kept.
        kept_bytes: of probabilities to keep for the backward pass of a head that is trained; the rest is computed again.
    """
    if not isinstance(head, nn.Linear) or twice_differentiable:
        logits: Tensor = head(hidden).float()
        return _gather(logits, targets) - logits.logsumexp(-1)
    if any(p.requires_grad for p in head.parameters()) and torch.is_grad_enabled():
        return _trained_logps(hidden, head.weight, head.bias, targets, kept_bytes)
    return _frozen_logps(hidden, head.weight, head.bias, targets)


def token_divergences(
    policy: tuple[nn.Module, Tensor], reference: tuple[Callable[[Tensor], Tensor], Tensor], targets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return KL(policy || reference) over the whole vocabulary, and log p(target) of both, of each place; without a graph.

    KL = sum over tokens v of p(v) (log p(v) - log q(v)), p the policy's distribution and q the reference's.

    Args:
        policy: its head, and its hidden states ``[places, width]``.
        reference: likewise, the head as a function from hidden states to logits.
        targets: token ids, ``[places]``.

    Returns:
        Three fp32 tensors ``[places]`` in nats: divergence, log-prob under the policy, log-prob under the reference.
    """
    (policy_head, policy_hidden), (reference_head, reference_hidden) = policy, reference
    weight: Any = policy_head.weight
    found = torch.empty(3, len(targets), dtype=torch.float32, device=targets.device)
    for places in _chunks(len(targets), weight):
        logp = policy_head(policy_hidden[places]).log_softmax(-1, dtype=torch.float32)
        logq = reference_head(reference_hidden[places]).log_softmax(-1, dtype=torch.float32)
        found[1, places] = _gather(logp, targets[places])
        found[2, places] = _gather(logq, targets[places])
        found[0, places] = (logp - logq).mul_(logp.exp()).sum(-1)
    divergence, policy_logps, reference_logps = found
    return divergence, policy_logps, reference_logps


class _FrozenHead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        logps = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        slopes = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for places in _chunks(len(hidden), weight):
            everywhere = _log_softmax(hidden[places], weight, bias)
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


class _TrainedHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, kept_bytes: int
    ) -> Tensor:
        logps = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        kept: list[Tensor] = []
        room = kept_bytes
        for places in _chunks(len(hidden), weight):
            everywhere = _log_softmax(hidden[places], weight, bias)
            logps[places] = _gather(everywhere, targets[places])
            room -= everywhere.numel() * weight.element_size()
            if room >= 0:
                kept.append(everywhere.exp_().to(weight.dtype))
        # Saved, not held: they are let go as soon as they were used.
        ctx.save_for_backward(hidden, weight, bias, targets, *kept)
        return logps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, *kept = ctx.saved_tensors
        to_hidden = torch.empty_like(hidden)
        # Sums over chunks in fp32, whatever the products are in.
        to_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        to_bias = torch.zeros(len(weight), dtype=torch.float32, device=weight.device)
        for number, places in enumerate(_chunks(len(hidden), weight)):
            if number < len(kept):
                slopes = kept[number].neg()
            else:
                slopes = _log_softmax(hidden[places], weight, bias).exp_().to(weight.dtype).neg_()
            rows = torch.arange(len(slopes), device=slopes.device)
            slopes[rows, targets[places]] += 1
            slopes *= gradient[places, None].to(slopes.dtype)
            to_hidden[places] = slopes @ weight
            to_weight += slopes.T @ hidden[places]
            to_bias += slopes.float().sum(0)
        return (
            to_hidden,
            to_weight.to(weight.dtype),
            None if bias is None else to_bias.to(bias.dtype),
            None,
            None,
        )


# apply of an autograd function carries no types.
_frozen_logps: Callable[[Tensor, Tensor, Tensor | None, Tensor], Tensor] = _FrozenHead.apply
_trained_logps: Callable[[Tensor, Tensor, Tensor | None, Tensor, int], Tensor] = _TrainedHead.apply


def _chunks(places: int, weight: Tensor) -> Iterator[slice]:
    """Yield slices of places whose fp32 logits stay within the bound."""
    rows = max(1, _LOGIT_BYTES // (4 * weight.shape[0]))
    yield from (slice(start, min(start + rows, places)) for start in range(0, places, rows))


def _log_softmax(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return linear(hidden, weight, bias).log_softmax(-1, dtype=torch.float32)


def _gather(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.gather(-1, targets[:, None]).squeeze(-1)

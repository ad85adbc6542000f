"""Greedy coordinate gradient: the search for a suffix of a prompt after which a model begins a given answer.

Published: Zou et al., "Universal and Transferable Adversarial Attacks on Aligned Language Models", arXiv 2307.15043, algorithm 1, for
one prompt and one model. Where it leaves a choice, this is nanoGCG's, with which a test compares: one token is replaced at a time, and
the best candidate is gone on from even where the suffix before it was better.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import DynamicCache


@dataclass(frozen=True)
class Aim:
    """Token ids of what stands before and after the suffix, and of the beginning of an answer that is aimed at."""

    before: list[int]
    after: list[int]
    target: list[int]


@dataclass(frozen=True)
class SuffixSearch:
    """``search(aim, first, steps, …)`` yields a suffix and its loss, for the first suffix and after each step.

    The loss is the mean negative log-prob of the target's tokens, in nats.

    Attributes:
        policy: the model; its weights take no gradient.
        device: of the model.
        allowed: tokens that may stand in a suffix, ``[vocabulary]``, on the CPU.
        top_k: for each place, tokens that are tried: those whose gradient promises most.
        width: candidates of a step.
        tokens_per_batch: most places of a forward pass over candidates, unless one alone has more.
    """

    policy: Any
    device: torch.device
    allowed: Tensor
    top_k: int
    width: int
    tokens_per_batch: int

    def __call__(
        self,
        aim: Aim,
        first: Sequence[int],
        steps: int,
        generator: torch.Generator,
        survives: Callable[[list[list[int]]], list[bool]],
    ) -> Iterator[tuple[list[int], float]]:
        """Search.

        Args:
            aim: what is asked, and what is to be answered.
            first: token ids of the first suffix; all others have its length.
            steps: number of steps.
            generator: of the candidates; on the CPU, so that a seed means the same on every device.
            survives: says of each of some suffixes whether it is read from its own text as the same tokens.
        """
        prefix = self._read(aim.before)
        suffix = torch.tensor(list(first))
        loss = float(self._losses(aim, prefix, suffix[None])[0])
        yield suffix.tolist(), loss
        for _ in range(steps):
            candidates = self._candidates(suffix, self._gradient(aim, prefix, suffix), generator)
            candidates = candidates[torch.tensor(survives(candidates.tolist()), dtype=torch.bool)]
            # Where none can be sent as text, the step was in vain.
            if len(candidates):
                losses = self._losses(aim, prefix, candidates)
                best = int(losses.argmin())
                suffix, loss = candidates[best], float(losses[best])
            yield suffix.tolist(), loss

    def _read(self, ids: list[int]) -> list[tuple[Tensor, Tensor]]:
        cache = DynamicCache()
        with torch.no_grad():
            given = torch.tensor([ids], device=self.device)
            self.policy(input_ids=given, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return [(keys, values) for keys, values, *_ in cache]

    def _gradient(self, aim: Aim, prefix: list[tuple[Tensor, Tensor]], suffix: Tensor) -> Tensor:
        """Return the loss's gradient by the one-hot code of each place of the suffix, ``[places, vocabulary]``, on the CPU."""
        embedding = self.policy.get_input_embeddings()
        embedded = self._embed(aim, suffix[None]).requires_grad_()
        loss = self._target_losses(aim, prefix, embedded).mean()
        (gradient,) = torch.autograd.grad(loss, embedded)
        # By the chain rule: a one-hot code times the embedding's weights is what was read.
        weight: Tensor = embedding.weight
        return (gradient[0, : len(suffix)].float() @ weight.float().T).cpu()

    def _candidates(self, suffix: Tensor, gradient: Tensor, generator: torch.Generator) -> Tensor:
        """Return suffixes with one token replaced, ``[width, places]``."""
        number = min(self.top_k, int(self.allowed.sum()))
        promising = (-gradient.masked_fill(~self.allowed, torch.inf)).topk(number, dim=1).indices
        place = torch.argsort(torch.rand((self.width, len(suffix)), generator=generator))[:, :1]
        drawn = torch.randint(0, number, (self.width, 1, 1), generator=generator)
        token = promising[place].gather(2, drawn).squeeze(2)
        return suffix.repeat(self.width, 1).scatter(1, place, token)

    @torch.no_grad()
    def _losses(self, aim: Aim, prefix: list[tuple[Tensor, Tensor]], suffixes: Tensor) -> Tensor:
        places = suffixes.shape[1] + len(aim.after) + len(aim.target)
        rows = max(1, self.tokens_per_batch // places)
        parts = [
            self._target_losses(aim, prefix, self._embed(aim, part)).cpu() for part in suffixes.split(rows)
        ]
        return torch.cat(parts)

    def _embed(self, aim: Aim, suffixes: Tensor) -> Tensor:
        rest = torch.tensor([*aim.after, *aim.target]).expand(len(suffixes), -1)
        embedded: Tensor = self.policy.get_input_embeddings()(torch.cat([suffixes, rest], 1).to(self.device))
        return embedded.detach()

    def _target_losses(self, aim: Aim, prefix: list[tuple[Tensor, Tensor]], embedded: Tensor) -> Tensor:
        rows, target = len(embedded), torch.tensor(aim.target, device=self.device)
        cache = DynamicCache([(k.expand(rows, -1, -1, -1), v.expand(rows, -1, -1, -1)) for k, v in prefix])
        logits: Tensor = self.policy(
            inputs_embeds=embedded, past_key_values=cache, use_cache=True, logits_to_keep=len(target) + 1
        ).logits[:, :-1]
        return cross_entropy(logits.float().transpose(1, 2), target.expand(rows, -1), reduction="none").mean(
            1
        )

"""The weights that training changes: kept, summed up and stepped in fp32, whatever the model computes in.

A step of AdamW is often smaller than the distance between two bf16 numbers, and so is the gradient of one micro-batch beside the sum
of many. Weights in less than fp32 therefore have a master in fp32, which the optimiser steps and which gathers the gradients.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.sharding import gather, is_sharded, spread

_BUCKET_WEIGHTS = 32 << 20


class TrainedWeights:
    """The trainable parameters of a policy, by name."""

    def __init__(self, policy: nn.Module) -> None:
        """Take the parameters that require a gradient; from now on, their gradients are found in the masters."""
        self._used = {name: p for name, p in policy.named_parameters() if p.requires_grad}
        self.masters = {name: _master(parameter) for name, parameter in self._used.items()}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What an optimiser steps."""
        return list(self.masters.values())

    @property
    def sharded(self) -> bool:
        """Whether each process holds a part of each weight only."""
        return any(map(is_sharded, self.masters.values()))

    def clear_gradients(self) -> None:
        """Forget the gradients."""
        for master in self.masters.values():
            master.grad = None

    def sum_gradients(self, context: WorkerContext) -> None:
        """Add up the gradients of all processes, many in one buffer; a process that had no pair in this step adds zeros.

        Sharded weights have done so in the backward pass.
        """
        if context.accelerator.num_processes == 1 or self.sharded:
            return
        for masters in _buckets(self.parameters):
            flat = torch.cat(
                [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in masters]
            )
            torch.distributed.all_reduce(flat)
            for master, part in zip(masters, flat.split([p.numel() for p in masters]), strict=True):
                if master.grad is None:
                    master.grad = torch.empty_like(master)
                master.grad.copy_(part.view_as(master))

    def clip_gradients(self, max_norm: float) -> float:
        """Scale the gradients to at most this norm over all of them; return what it was."""
        norm = nn.utils.clip_grad_norm_(self.parameters, max_norm)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def publish(self) -> None:
        """Let the policy compute with what the optimiser made of the masters."""
        with torch.no_grad():
            for name, used in self._used.items():
                if self.masters[name] is not used:
                    used.copy_(self.masters[name])

    def snapshot(self) -> dict[str, Tensor]:
        """Return copies on the CPU, fp32; of sharded weights whole ones on the main process and none elsewhere, and all must call."""
        return {name: value for name, master in self.masters.items() if (value := gather(master)) is not None}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Set the weights to a snapshot; where they are sharded, to that of the main process, and all must call."""
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(spread(snapshot.get(name), master))
        self.publish()


def _buckets(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Yield the parameters in groups: one sum for many small ones, and no second copy of all large ones at once."""
    group: list[nn.Parameter] = []
    for parameter in parameters:
        if group and sum(p.numel() for p in group) + parameter.numel() > _BUCKET_WEIGHTS:
            yield group
            group = []
        group.append(parameter)
    yield group


def _master(parameter: nn.Parameter) -> nn.Parameter:
    if parameter.dtype == torch.float32:
        return parameter
    master = nn.Parameter(parameter.detach().float())

    def move_gradient(used: Tensor) -> None:
        gradient = used.grad
        if gradient is not None:
            master.grad = gradient.float() if master.grad is None else master.grad.add_(gradient)
            used.grad = None

    parameter.register_post_accumulate_grad_hook(move_gradient)
    return master

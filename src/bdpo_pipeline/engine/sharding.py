"""A model spread over the processes of a job by torch's ``fully_shard`` (FSDP2): each holds a part and gathers a layer while it runs.

Accelerate's own FSDP needs a GPU and silently runs plain data parallelism on a CPU; this is the same on both.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from bdpo_pipeline.engine.context import LaunchMismatchError, WorkerContext

# Shards of uneven weights differ by a few rows.
_TOLERANCE = 1.05


def shard(scorer: nn.Module, decoder: nn.Module, context: WorkerContext, dtype: torch.dtype) -> float:
    """Spread the layers below ``decoder``, and what else ``scorer`` holds, over all processes.

    Weights that are trained beside frozen ones (an adapter) stay whole: they are small, and their gradients are summed like those
    of any adapter. Where all weights are trained, their shards are kept in fp32 and computed in ``dtype``.

    Args:
        scorer: the module whose forward pass is called; all of it must run inside.
        decoder: with ``layers``.
        context: of the worker.
        dtype: to compute in.

    Returns:
        The share of the sharded weights that this process holds.

    Raises:
        LaunchMismatchError: this process holds more than its part.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    processes = context.accelerator.num_processes
    mesh = init_device_mesh(context.device.type, (processes,))
    frozen = [p for p in scorer.parameters() if not p.requires_grad]
    whole = {p for p in scorer.parameters() if p.requires_grad} if frozen else set()
    precision = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    layers: Any = decoder.layers
    for module in [*layers, scorer]:
        fully_shard(module, mesh=mesh, mp_policy=precision, ignored_params=whole)
    if not frozen:
        scorer.float()
    scorer.to(context.device)
    for module in scorer.modules():
        if isinstance(module, FSDPModule):
            # Losses are divided by the pairs of the whole step already. Sums are also what every backend has.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    sharded = [p for p in scorer.parameters() if isinstance(p, DTensor)]
    share = sum(p.to_local().numel() for p in sharded) / max(sum(p.numel() for p in sharded), 1)
    if not sharded or share * processes > _TOLERANCE:
        raise LaunchMismatchError(
            f"compute.sharding asks for weights spread over {processes} processes and this one holds {share:.0%} of them"
        )
    return share


def is_sharded(tensor: Tensor) -> bool:
    """Return whether this process holds a part of the tensor only."""
    return isinstance(tensor, DTensor)


def gather(tensor: Tensor) -> Tensor | None:
    """Return a copy on the CPU; of a sharded tensor the whole on the main process and None elsewhere, and all must call."""
    whole = tensor.detach()
    if isinstance(whole, DTensor):
        main = whole.device_mesh.get_rank() == 0
        whole = whole.full_tensor()
        return whole.cpu() if main else None
    return whole.cpu().clone()


def spread(value: Tensor | None, like: Tensor) -> Tensor:
    """Return ``value`` as ``like`` is held; where that is sharded, the main process's counts, and all must call."""
    if not isinstance(like, DTensor):
        assert value is not None  # noqa: S101 - only processes of a sharded job have none
        return value.to(like.device)
    whole = torch.empty(like.shape, dtype=like.dtype) if value is None else value.to(like.dtype)
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)

"""Models for passes that ask for no gradient."""

import torch
from torch import nn

from bdpo_pipeline.engine.jobs import Compute
from bdpo_pipeline.engine.lora import fuse_lora
from bdpo_pipeline.engine.products import use_products
from bdpo_pipeline.models.adapters import load_policy


def load_for_inference(model: str, adapter: str | None, compute: Compute, device: torch.device) -> nn.Module:
    """Return the base model, or what was trained of it, computing as it does in training.

    Args:
        model: folder of the base model.
        adapter: None, or the folder that training left.
        compute: how weights are held.
        device: to put it on.
    """
    policy = load_policy(model, adapter, **compute.weights).to(device)
    fuse_lora(policy)
    use_products(policy)
    return policy

"""Adapters on a base model."""

from typing import TYPE_CHECKING

from bdpo_pipeline.models.loading import load_model

if TYPE_CHECKING:
    from torch import nn


def load_policy(
    path: str, adapter: str | None, *, dtype: str, quantisation: str | None = None
) -> "nn.Module":
    """Return the base model with an adapter on it, or bare, for inference on the CPU."""
    model = load_model(path, dtype=dtype, quantisation=quantisation)
    if adapter is None:
        return model
    from peft import PeftModel

    policy: nn.Module = PeftModel.from_pretrained(model, adapter).eval()
    return policy


def add_lora(
    model: "nn.Module", *, r: int, alpha: int, dropout: float, target_modules: str | list[str], seed: int
) -> "nn.Module":
    """Return the base model with a fresh LoRA adapter, which changes nothing until it is trained.

    Args:
        model: base model; its own weights stay frozen.
        r: rank.
        alpha: the update is scaled by ``alpha / r``.
        dropout: on the adapter's input.
        target_modules: PEFT's choice of modules, such as ``all-linear`` or a list of names.
        seed: of the initial weights.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=target_modules, task_type="CAUSAL_LM"
    )
    torch.manual_seed(seed)
    policy: nn.Module = get_peft_model(model, config)
    return policy

"""Adapters on a base model."""

from pathlib import Path
from typing import TYPE_CHECKING

from bdpo_pipeline.models.loading import load_model

if TYPE_CHECKING:
    from torch import nn


def is_adapter(folder: str | Path) -> bool:
    """Return whether the folder holds a PEFT adapter, rather than a model with all its weights."""
    return (Path(folder) / "adapter_config.json").is_file()


def load_policy(
    path: str, adapter: str | Path | None, *, dtype: str, quantisation: str | None = None
) -> "nn.Module":
    """Return the base model, or what was trained of it, for inference on the CPU.

    Args:
        path: folder of the base model.
        adapter: None, or the folder that training left: an adapter to put on the base model, or a model with all its weights.
        dtype: see :func:`load_model`, and likewise ``quantisation``.
    """
    if adapter is not None and not is_adapter(adapter):
        return load_model(adapter, dtype=dtype)
    model = load_model(path, dtype=dtype, quantisation=quantisation)
    if adapter is None:
        return model
    from peft import PeftModel

    policy: nn.Module = PeftModel.from_pretrained(model, str(adapter)).eval()
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

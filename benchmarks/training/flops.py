"""Floating-point operations that a pass needs, from its layout and the model's shapes: no padding, no recomputation, nothing masked.

A linear layer with a weight of N entries takes 2 N operations a place forward, as many for the gradient in its input and, where the
weight is trained, as many for that in the weight. The head does so at scored places only. Attention takes 4 * heads * width operations
for each place and each that it sees, and twice that backward.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bdpo_pipeline.engine.jobs import LoraSpec
from bdpo_pipeline.engine.layout import Batch
from bdpo_pipeline.models.adapters import add_lora

# The layers that read a block's input; in the first block that is the embeddings.
_READERS = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True)
class Places:
    """What is laid out.

    Attributes:
        computed: places that go through the layers.
        scored: places that go through the head.
        seen: places seen, summed over places.
    """

    computed: int
    scored: int
    seen: int


def count_places(batches: Iterable[Batch]) -> Places:
    """Return the sums over batches."""
    computed = scored = seen = 0
    for batch in batches:
        computed += batch.input_ids.numel()
        scored += batch.targets.numel()
        reach = batch.segments.reach
        seen += int((reach - torch.arange(len(reach))).sum())
    return Places(computed, scored, seen)


def shapes_of(path: str, lora: LoraSpec | None, *, trained: bool) -> nn.Module:
    """Return a model without memory for its weights, with an adapter if there is one, trained or frozen as asked."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path, local_files_only=True))
    if lora is None:
        return model.requires_grad_(trained)
    parts = {"r": lora.r, "alpha": lora.alpha, "dropout": lora.dropout, "target_modules": lora.target_modules}
    policy = add_lora(model.requires_grad_(False), **parts, seed=0)  # type: ignore[arg-type]
    return policy if trained else policy.requires_grad_(False)


def count_flops(model: nn.Module, places: Places) -> int:
    """Return the operations of a pass over these places, with the backward pass if anything is trained."""
    base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    trained = any(parameter.requires_grad for parameter in model.parameters())
    inputs_are_constant = not base.get_input_embeddings().weight.requires_grad
    readers = [getattr(base.get_decoder().layers[0].self_attn, name) for name in _READERS]
    # The gradient in the embeddings is nobody's; what an adapter has of its own in between is.
    no_input_gradient = {
        id(part)
        for reader in readers
        for name, part in reader.named_modules()
        if inputs_are_constant and "lora_B" not in name
    }
    head = base.get_output_embeddings()
    total = 0
    for module in model.modules():
        if isinstance(module, nn.Linear):
            products = 1
            if trained:
                products += int(id(module) not in no_input_gradient) + int(module.weight.requires_grad)
            at = places.scored if module is head else places.computed
            total += 2 * module.weight.numel() * at * products
    config = base.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    attention = 4 * config.num_attention_heads * width * config.num_hidden_layers * places.seen
    return total + attention * (3 if trained else 1)

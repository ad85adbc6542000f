"""What fits where for Qwen2-7B on GPUs of 80 GB: `python benchmarks/memory_plan.py` writes docs/results/memory_plan.md.

Memory is found as a worker finds it: a pass is run through without content, on a model without weights. Time is arithmetic.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bdpo_pipeline.engine import attention_loop
from bdpo_pipeline.engine.budget import ENOUGH_PLACES, OVERHEAD, gathered_bytes, resting_bytes
from bdpo_pipeline.engine.footprint import peak_bytes
from bdpo_pipeline.engine.layout import Row, build_batch
from bdpo_pipeline.engine.logps import base_model, response_logps
from bdpo_pipeline.engine.lora import fuse_lora
from bdpo_pipeline.engine.memory import GB, GPU_SHARE
from bdpo_pipeline.models.adapters import add_lora

GPU_GB = 80
ROW = Row([1] * 128, [[2] * 192, [3] * 192])
ROWS = 8
PAIRS = 20_000
PEAK_FLOPS = 989e12
SHARE_OF_PEAK = 0.4
# bitsandbytes: four bits, a scale of 8 bits for 64 weights, and one of 32 bits for 256 of these.
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
TARGET = Path(__file__).parents[1] / "docs" / "results" / "memory_plan.md"


@dataclass(frozen=True)
class Way:
    """A way to train."""

    name: str
    gpus: int
    lora: bool
    nf4: bool = False
    sharded: bool = False
    checkpointing: bool = False


WAYS = [
    Way(name, gpus, lora, nf4, sharded, checkpointing)
    for name, gpus, lora, nf4, sharded in [
        ("LoRA, bf16", 1, True, False, False),
        ("QLoRA, nf4", 1, True, True, False),
        ("all weights, bf16 with fp32 masters", 1, False, False, False),
        ("LoRA, bf16, a whole model on each", 8, True, False, False),
        ("LoRA, bf16, FSDP2", 8, True, False, True),
        ("all weights, FSDP2", 8, False, False, True),
    ]
    for checkpointing in (False, True)
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TARGET)
    out: Path = parser.parse_args().out
    # On a GPU attention is one fused kernel; a CPU's way in bf16 would keep all scores.
    attention_loop._attend_by_products = attention_loop._attend_fused
    text = describe([measure(way) for way in WAYS])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    print(text)


def build(way: Way) -> nn.Module:
    """Return Qwen2-7B with an adapter or all weights to be trained, and no content."""
    from transformers import AutoModelForCausalLM, Qwen2Config

    config = Qwen2Config(
        hidden_size=3584,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        intermediate_size=18944,
        vocab_size=152064,
        tie_word_embeddings=False,
        use_cache=False,
    )
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).requires_grad_(
            not way.lora
        )
        if way.lora:
            model = add_lora(model, r=16, alpha=32, dropout=0.0, target_modules="all-linear", seed=0)
            if not way.nf4:  # as the engine leaves quantised layers to PEFT
                fuse_lora(model)
    if way.checkpointing:
        base_model(model).activation_checkpointing_enable()
    return model


def measure(way: Way) -> dict[str, Any]:
    """Return what is resident, what a place takes, and how many places fit."""
    model = build(way)
    resting = float(resting_bytes(model, learning=True, sharded_over=way.gpus if way.sharded else 1))
    gathered = float(gathered_bytes(model, learning=True)) if way.sharded else 0.0
    if way.nf4:
        linear = [
            module.base_layer.weight
            for module in model.modules()
            if isinstance(getattr(module, "base_layer", None), nn.Linear)
        ]
        resting -= sum(weight.numel() * (2 - NF4_BYTES) for weight in linear)
        # The layer that is computed is unpacked.
        gathered += 2 * max(weight.numel() for weight in linear)

    def peak(rows: int, *, learning: bool) -> float:
        return OVERHEAD["cuda"] * peak_bytes(
            model,
            lambda: response_logps(model, build_batch([ROW] * rows)),
            torch.device("cpu"),
            learning=learning,
        )

    few, many = peak(1, learning=True), peak(ROWS, learning=True)
    each = (many - few) / ((ROWS - 1) * ROW.tokens)
    room = GPU_SHARE * GPU_GB * GB - resting - gathered - (few - each * ROW.tokens)
    fitting = max(int(room / each), 0)
    bound = min(1 << fitting.bit_length() - 1, ENOUGH_PLACES["cuda"]) if fitting >= ROW.tokens else 0
    weights = sum(p.numel() for p in model.parameters())
    per_place = (4 if way.lora else 6) + (2 if way.checkpointing else 0)
    seconds = per_place * weights * ROW.tokens * PAIRS / (PEAK_FLOPS * SHARE_OF_PEAK * way.gpus)
    return {
        "way": way,
        "resting": resting,
        "gathered": gathered,
        "each": each,
        "fitting": fitting,
        "bound": bound,
        "weights": weights,
        "flops": per_place,
        "minutes": seconds / 60,
        "reference": 2 * weights * ROW.tokens * PAIRS / (PEAK_FLOPS * SHARE_OF_PEAK * way.gpus) / 60,
    }


def describe(rows: list[dict[str, Any]]) -> str:
    head = (
        "| GPUs | what is trained | checkpointing | at rest, GB a GPU | gathered or unpacked, GB | kB a place | places that fit | "
        "`tokens_per_batch` | FLOPs a place | minutes an epoch |\n|" + "---|" * 10
    )
    lines = [_line(row) for row in rows]
    return f"""# Memory and time of Qwen2-7B on GPUs of {GPU_GB} GB

Made by `python benchmarks/memory_plan.py`; not measured on a GPU. Memory is computed as a worker computes it: a forward and a backward
pass over {ROWS} pairs of {ROW.tokens} places (prompt 128, responses 192) is run through tensor by tensor, on a model that has shapes and
no weights. A GPU is filled to {GPU_SHARE:.0%}, and what tensors take is multiplied by {OVERHEAD["cuda"]} for the allocator.

- At rest: bf16 weights (2 bytes each); for what is trained also a master, a gradient and two moments of AdamW in fp32 (16 bytes more:
  18 bytes for a weight in bf16, 16 for an adapter's, which is in fp32 itself, and 16 for a shard, which is the master); nf4
  weights {NF4_BYTES:.3f} bytes, embeddings and head in bf16.
- Gathered: under FSDP2 two layers and what is in no layer are whole for a moment, with their gradients; under nf4 one layer is unpacked.
- FSDP2 over 8 divides what is at rest by 8, an adapter excepted.
- `tokens_per_batch` is the power of two below what fits, at most {ENOUGH_PLACES["cuda"]}, where more make nothing faster; "does not fit"
  where not even one pair does.

{head}
{chr(10).join(lines)}

Time is arithmetic, not measured. FLOPs a trained place are 6 N where all weights are trained and 4 N with an adapter (no gradients of
frozen weights), 2 N more with checkpointing; N, the number of weights, is {rows[0]["weights"] / 1e9:.1f} billion. An epoch is
{PAIRS:,} pairs of {ROW.tokens} places, at {SHARE_OF_PEAK:.0%} of {PEAK_FLOPS / 1e12:.0f} TFLOP/s (bf16, data sheet of an H100). A
reference pass over the same pairs (2 N) adds {_reference(rows)}.
"""


def _reference(rows: list[dict[str, Any]]) -> str:
    minutes = {row["way"].gpus: row["reference"] for row in rows}
    return " and ".join(
        f"{value:.0f} minutes on {gpus} GPU{'s' * (gpus > 1)}" for gpus, value in minutes.items()
    )


def _line(row: dict[str, Any]) -> str:
    way: Way = row["way"]
    fits = row["bound"] > 0
    cells = [
        way.gpus,
        way.name,
        "yes" if way.checkpointing else "no",
        f"{row['resting'] / GB:.1f}",
        f"{row['gathered'] / GB:.1f}",
        f"{row['each'] / 1e3:.0f}",
        f"{row['fitting']:,}" if fits else "does not fit",
        row["bound"] if fits else "",
        f"{row['flops']} N",
        f"{row['minutes']:.0f}" if fits else "",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()

"""What is measured, by name; the standard library alone, as every script reads it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: as on the command line and on the page.
        dtype: of the base weights.
        steps: optimiser steps, unless the command line says otherwise.
        learning_rate: constant.
        large_vocabulary: whether the model gets as many tokens as Qwen2 has.
        full: whether all weights are trained instead of a LoRA adapter.
    """

    name: str
    dtype: str
    steps: int
    learning_rate: float = 1e-4
    large_vocabulary: bool = False
    full: bool = False


# No full fine-tuning in bfloat16: TRL would train weights that are themselves bfloat16, the engine keeps them in float32, so the two
# would not do the same work.
CASES = {
    case.name: case
    for case in (
        Case("float32", "float32", steps=16),
        Case("bfloat16", "bfloat16", steps=16),
        Case("bfloat16/large-vocabulary", "bfloat16", steps=4, large_vocabulary=True),
        Case("float32/full", "float32", steps=4, learning_rate=1e-5, full=True),
    )
}

# Ways to compute a step, each with one trick more than the one before; the last is the engine's.
TRICKS = (
    "plain: all pairs of a step padded, all logits",
    "two pairs at a time, by length",
    "no padding",
    "prompt once for both responses",
    "head at response places only",
    "frozen head in one sweep over chunks",
    "common beginning of prompts once",
    "LoRA layer as one function",
)

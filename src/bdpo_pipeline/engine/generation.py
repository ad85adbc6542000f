"""The generation task: greedy answers of the base model and of the adapter to the same prompts."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.jobs import GenerateJob
from bdpo_pipeline.models.adapters import load_policy
from bdpo_pipeline.models.loading import load_tokenizer


def generate(job: GenerateJob, context: WorkerContext) -> dict[str, Any]:
    """Continue every prompt and report each batch as a ``generations`` event: prompt numbers, texts, token counts, whether ended."""
    prompts = context.load_tokens()[0]["contexts"]
    tokenizer = load_tokenizer(job.model)
    policy: Any = load_policy(job.model, job.adapter, **job.compute.weights).to(context.device)
    policy.config.use_cache = True
    ends = _end_tokens(policy, tokenizer)
    models = ("base",) if job.adapter is None else ("base", "adapter")
    # Prompts of like length together: less padding, and answers of a batch end at like times.
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    batches = context.share([order[i : i + job.batch_size] for i in range(0, len(order), job.batch_size)])
    with (
        torch.inference_mode(),
        context.progress("generate", len(models) * sum(map(len, batches))) as advance,
    ):
        for name in models:
            bare: AbstractContextManager[Any] = (
                policy.disable_adapter() if name == "base" and job.adapter is not None else nullcontext()
            )
            with bare:
                for numbers in batches:
                    answers = _continue(
                        policy, [prompts[i] for i in numbers], job, tokenizer, ends, context.device
                    )
                    context.emit(
                        {
                            "event": "generations",
                            "model": name,
                            "prompts": numbers,
                            "response": tokenizer.batch_decode(answers, skip_special_tokens=True),
                            "response_tokens": [len(ids) for ids in answers],
                            "finished": [bool(ids) and ids[-1] in ends for ids in answers],
                        }
                    )
                    advance(len(numbers))
    return {}


def _continue(
    policy: Any,
    prompts: list[list[int]],
    job: GenerateJob,
    tokenizer: Any,
    ends: set[int],
    device: torch.device,
) -> list[list[int]]:
    input_ids, attention_mask = _pad_left(prompts, tokenizer.pad_token_id)
    whole: Tensor = policy.generate(
        input_ids=input_ids.to(device),
        attention_mask=attention_mask.to(device),
        max_new_tokens=job.max_new_tokens,
        do_sample=False,
        # Greedy means the likeliest token, whatever penalty the model's own settings ship.
        repetition_penalty=1.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=sorted(ends),
    )
    return [_cut_after_end(ids, ends) for ids in whole[:, input_ids.shape[1] :].tolist()]


def _end_tokens(policy: Any, tokenizer: Any) -> set[int]:
    """Return all tokens that end an answer: the tokenizer's, and those that the model's own settings name."""
    own = policy.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(own if isinstance(own, list) else [] if own is None else [own])}


def _pad_left(prompts: list[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    return ids, mask


def _cut_after_end(ids: list[int], ends: set[int]) -> list[int]:
    return next((ids[: place + 1] for place, token in enumerate(ids) if token in ends), ids)

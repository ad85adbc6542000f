"""The generation task: greedy answers of the base model and of the trained one to the same prompts."""

from collections.abc import Iterator
from typing import Any

import torch

from bdpo_pipeline.engine.answering import Answering
from bdpo_pipeline.engine.budget import ENOUGH_PLACES
from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.jobs import GenerateJob
from bdpo_pipeline.engine.memory import find_budget
from bdpo_pipeline.models.adapters import is_adapter, load_policy
from bdpo_pipeline.models.loading import load_tokenizer

# Keys and values stand twice for a moment when rows join or leave, beside the activations of a forward pass.
_CACHE_SHARE = 1 / 3


def generate(job: GenerateJob, context: WorkerContext) -> dict[str, Any]:
    """Answer every prompt. Those that end together are a ``generations`` event: prompt numbers, texts, token counts, whether ended."""
    prompts = context.load_tokens()[0]["contexts"]
    tokenizer = load_tokenizer(job.model)
    # Prompts of like length are read together. Dealt out in this order, every process gets as many long ones.
    mine = context.share(sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i)))
    models = 1 if job.adapter is None else 2
    with torch.inference_mode(), context.progress("generate", models * len(mine)) as advance:
        for name, policy in _policies(job, context):
            ends = _end_tokens(policy, tokenizer)
            answering = Answering(
                policy,
                context.device,
                ends,
                max_new_tokens=job.max_new_tokens,
                batch_size=job.batch_size,
                cache_bytes=_cache_bytes(job, context),
                tokens_per_batch=job.compute.tokens_per_batch or ENOUGH_PLACES[context.device.type],
            )
            for places, answers in answering([prompts[i] for i in mine]):
                context.emit(
                    {
                        "event": "generations",
                        "model": name,
                        "prompts": [mine[place] for place in places],
                        "response": tokenizer.batch_decode(answers, skip_special_tokens=True),
                        "response_tokens": [len(ids) for ids in answers],
                        "finished": [ids[-1] in ends for ids in answers],
                    }
                )
                advance(len(places))
            # Nothing may hold a model while the next one is loaded.
            del policy, answering
    return {}


def _policies(job: GenerateJob, context: WorkerContext) -> Iterator[tuple[str, Any]]:
    """Yield the base model and then the trained one, never holding two."""
    if job.adapter is not None and is_adapter(job.adapter):
        policy: Any = load_policy(job.model, job.adapter, **job.compute.weights).to(context.device)
        with policy.disable_adapter():
            yield "base", policy
        yield "adapter", policy
        return
    yield "base", load_policy(job.model, None, **job.compute.weights).to(context.device)
    if job.adapter is not None:
        yield "adapter", load_policy(job.model, job.adapter, **job.compute.weights).to(context.device)


def _cache_bytes(job: GenerateJob, context: WorkerContext) -> int:
    """Return what keys and values may take of the memory that the loaded model leaves."""
    budget = find_budget(job.compute.memory_gb, context.device, context.local_processes)
    return int(_CACHE_SHARE * max(budget.total - budget.used, 0))


def _end_tokens(policy: Any, tokenizer: Any) -> set[int]:
    """Return all tokens that end an answer: the tokenizer's, and those that the model's own settings name."""
    own = policy.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(own if isinstance(own, list) else [] if own is None else [own])}

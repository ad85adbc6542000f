"""The generation task: greedy answers of the base model, of the trained one, or of both to the same prompts."""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import torch

from bdpo_pipeline.engine.answering import Answering
from bdpo_pipeline.engine.budget import ENOUGH_PLACES
from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.inference import load_for_inference
from bdpo_pipeline.engine.jobs import GenerateJob
from bdpo_pipeline.engine.kept import items_of, read_kept
from bdpo_pipeline.engine.memory import find_budget
from bdpo_pipeline.engine.vocabulary import check_ids
from bdpo_pipeline.models.adapters import is_adapter
from bdpo_pipeline.models.loading import load_tokenizer

# Keys and values stand twice for a moment when rows join or leave, beside the activations of a forward pass.
_CACHE_SHARE = 1 / 3


def generate(job: GenerateJob, context: WorkerContext) -> dict[str, Any]:
    """Answer every prompt that no earlier run of the job has answered.

    Those that end together are a ``generations`` event, which is kept: prompt numbers, texts, token counts, whether ended.
    """
    prompts = context.load_tokens()[0]["contexts"]
    tokenizer = load_tokenizer(job.model)
    answered = items_of(read_kept(context.folder))
    # Prompts of like length are read together. Dealt out in this order, every process gets as many long ones.
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    shares: dict[str, list[int]] = {
        name: context.share([i for i in order if (name, i) not in answered])
        for name in ("base", "adapter")
        if name in job.models
    }
    mine = {name: share for name, share in shares.items() if share}
    with torch.inference_mode(), context.progress("generate", sum(map(len, mine.values()))) as advance:
        for name, policy in _policies(job, context, mine):
            check_ids(policy, prompts)
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
            for places, answers in answering([prompts[i] for i in mine[name]]):
                context.keep(
                    {
                        "event": "generations",
                        "model": name,
                        "prompts": [mine[name][place] for place in places],
                        "response": tokenizer.batch_decode(answers, skip_special_tokens=True),
                        "response_tokens": [len(ids) for ids in answers],
                        "finished": [ids[-1] in ends for ids in answers],
                    }
                )
                advance(len(places))
            # Nothing may hold a model while the next one is loaded.
            del policy, answering
    return {"results": len(job.models) * len(prompts)}


def _policies(job: GenerateJob, context: WorkerContext, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yield the models that are to answer one after the other, never holding two."""
    if job.adapter is not None and is_adapter(job.adapter):
        policy: Any = load_for_inference(job.model, job.adapter, job.compute, context.device)
        for name in names:
            with policy.disable_adapter() if name == "base" else nullcontext():
                yield name, policy
        return
    for name in names:
        adapter = job.adapter if name == "adapter" else None
        yield name, load_for_inference(job.model, adapter, job.compute, context.device)


def _cache_bytes(job: GenerateJob, context: WorkerContext) -> int:
    """Return what keys and values may take of the memory that the loaded model leaves."""
    budget = find_budget(job.compute.memory_gb, context.device, context.local_processes)
    return int(_CACHE_SHARE * max(budget.total - budget.used, 0))


def _end_tokens(policy: Any, tokenizer: Any) -> set[int]:
    """Return all tokens that end an answer: the tokenizer's, and those that the model's own settings name."""
    own = policy.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(own if isinstance(own, list) else [] if own is None else [own])}

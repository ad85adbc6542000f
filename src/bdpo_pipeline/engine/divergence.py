"""The divergence task: how far a trained model has moved from its base model on given responses, token by token."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bdpo_pipeline.engine.beginning import Beginning, find_beginning, keep_beginning
from bdpo_pipeline.engine.budget import choose_places
from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.head import token_divergences
from bdpo_pipeline.engine.inference import load_for_inference
from bdpo_pipeline.engine.jobs import DivergeJob
from bdpo_pipeline.engine.layout import Batch, Row, build_batch, plan_batches
from bdpo_pipeline.engine.logps import check_supported, decoder_and_head, response_hidden
from bdpo_pipeline.models.adapters import is_adapter

# A model's head, and its hidden states at the places that predict response tokens: of the policy and of the reference.
Sides = tuple[tuple[nn.Module, Tensor], tuple[Callable[[Tensor], Tensor], Tensor]]
# Numbers of rows by batch, and the batches with both sides, each computed when it is asked for.
Passes = tuple[list[list[int]], Iterator[tuple[Batch, Sides]]]


def diverge(job: DivergeJob, context: WorkerContext) -> dict[str, Any]:
    """Compare both models on every response that no earlier run of the job has compared.

    Each batch is a ``divergences`` event, which is kept. It holds the numbers of its responses and of each, summed over its tokens in
    nats: ``kl``, the divergence of the trained model's distributions from the base model's, and the log-probs ``policy`` and
    ``reference``. Two models are never held at once.
    """
    ids, _ = context.load_tokens()
    rows = [Row(words, [response]) for words, response in zip(ids["contexts"], ids["responses"], strict=True)]
    beginning = find_beginning(context, job.compute)
    passes = _adapter_passes if is_adapter(job.adapter) else _whole_model_passes
    start, start_cpu = time.monotonic(), time.process_time()
    with torch.inference_mode():
        plan, compared = passes(job, context, rows, beginning)
        with context.progress("diverge", sum(map(len, plan))) as advance:
            for numbers, (batch, sides) in zip(plan, compared, strict=True):
                found = token_divergences(*sides, batch.targets)
                sums = {
                    name: [float(part.sum()) for part in tokens.split(batch.lengths)]
                    for name, tokens in zip(("kl", "policy", "reference"), found, strict=True)
                }
                context.keep({"event": "divergences", "responses": numbers, **sums})
                advance(len(numbers))
    return {
        "results": len(rows),
        "seconds": time.monotonic() - start,
        "cpu_seconds": time.process_time() - start_cpu,
    }


def _adapter_passes(job: DivergeJob, context: WorkerContext, rows: list[Row], beginning: Beginning) -> Passes:
    """Return the plan, and each batch with both sides of it: one model, with its adapter on and off."""
    policy: Any = load_for_inference(job.model, job.adapter, job.compute, context.device)
    head = decoder_and_head(policy)[1]

    def reference_head(hidden: Tensor) -> Tensor:
        with policy.disable_adapter():
            logits: Tensor = head(hidden)
        return logits

    plan = _plan(job, context, policy, rows, beginning)

    def compare() -> Iterator[tuple[Batch, Sides]]:
        for numbers in plan:
            batch = _batch(rows, numbers, context)
            with policy.disable_adapter():
                reference_hidden = response_hidden(policy, batch)
            yield batch, ((head, response_hidden(policy, batch)), (reference_head, reference_hidden))

    return plan, compare()


def _whole_model_passes(
    job: DivergeJob, context: WorkerContext, rows: list[Row], beginning: Beginning
) -> Passes:
    """Return the same where all weights were trained: of the base model, only hidden states and the head stay."""
    model = load_for_inference(job.model, None, job.compute, context.device)
    plan = _plan(job, context, model, rows, beginning)
    kept = [response_hidden(model, _batch(rows, numbers, context)).cpu() for numbers in plan]
    reference_head = decoder_and_head(model)[1]
    del model
    policy = load_for_inference(job.model, job.adapter, job.compute, context.device)
    head = decoder_and_head(policy)[1]

    def compare() -> Iterator[tuple[Batch, Sides]]:
        for numbers, hidden in zip(plan, kept, strict=True):
            batch = _batch(rows, numbers, context)
            reference = (reference_head, hidden.to(context.device))
            yield batch, ((head, response_hidden(policy, batch)), reference)

    return plan, compare()


def _plan(
    job: DivergeJob, context: WorkerContext, model: nn.Module, rows: list[Row], beginning: Beginning
) -> list[list[int]]:
    """Return the batches of this process, as numbers of rows; made up of all rows, so that an earlier run's are left out whole."""
    check_supported(model, context.device, rows)

    def observe(numbers: list[int]) -> Tensor:
        batch = _batch(rows, numbers, context)
        side = (decoder_and_head(model)[1], response_hidden(model, batch))
        return token_divergences(side, side, batch.targets)[0]

    tokens = choose_places(
        job.compute, context, model, rows, observe, learning=False, chosen=beginning.layout
    )
    keep_beginning(context, beginning)
    batches = plan_batches(rows, tokens)
    return context.share([numbers for numbers in batches if not beginning.has(numbers)])


def _batch(rows: list[Row], numbers: list[int], context: WorkerContext) -> Batch:
    return build_batch([rows[number] for number in numbers]).to(context.device)

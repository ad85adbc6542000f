"""The scoring task: log-probs of responses without gradients, for reference and evaluation passes."""

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bdpo_pipeline.engine.beginning import find_beginning, keep_beginning
from bdpo_pipeline.engine.budget import choose_places
from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.inference import load_for_inference
from bdpo_pipeline.engine.jobs import ScoreJob
from bdpo_pipeline.engine.layout import Row, build_batch, plan_batches
from bdpo_pipeline.engine.logps import base_model, check_supported, response_logps
from bdpo_pipeline.engine.vocabulary import check_ids


def score(job: ScoreJob, context: WorkerContext) -> dict[str, Any]:
    """Score every response and report each batch's log-probs as a ``scores`` event as soon as they are known.

    Responses of one context share its computation, up to the batch's token bound. Batches are made up of all responses, and what is
    not wanted or is known is then left out: a pass that was cut off and goes on has the rest of its batches as they would have been.
    """
    beginning = find_beginning(context, job.compute)
    ids, flat = context.load_tokens()
    response_context = flat["response_context"].tolist()
    wanted = flat.get("is_wanted", np.ones(len(response_context), bool)).tolist()
    missing = [is_wanted and (None, i) not in beginning.done for i, is_wanted in enumerate(wanted)]
    model = load_for_inference(job.model, job.adapter, job.compute, context.device)
    apart = [
        Row(ids["contexts"][number], [response])
        for number, response in zip(response_context, ids["responses"], strict=True)
    ]
    check_ids(model, [*ids["contexts"], *ids["responses"]])
    check_supported(model, context.device, apart)

    def observe(numbers: list[int]) -> Tensor:
        return response_logps(model, build_batch([apart[i] for i in numbers]).to(context.device))

    tokens = choose_places(
        job.compute, context, model, apart, observe, learning=False, chosen=beginning.layout
    )
    if job.resumable:
        keep_beginning(context, beginning)
    report = context.keep if job.resumable else context.emit
    batches = context.share(_wanted_batches(response_context, ids, missing, tokens))
    passes = 0
    start, start_cpu = time.monotonic(), time.process_time()
    with (
        torch.inference_mode(),
        context.progress("score", sum(len(group) for batch in batches for _, group in batch)) as advance,
    ):
        for batch in batches:
            rows = [
                Row(ids["contexts"][number], [ids["responses"][i] for i in group]) for number, group in batch
            ]
            logps = response_logps(model, build_batch(rows).to(context.device))
            responses = [i for _, group in batch for i in group]
            report({"event": "scores", "responses": responses, "logps": logps.double().tolist()})
            advance(len(responses))
            passes += 1
    seconds, cpu_seconds = time.monotonic() - start, time.process_time() - start_cpu
    total = torch.tensor(passes, device=context.device)
    return {
        "results": sum(wanted),
        "forward_passes": int(context.accelerator.reduce(total, "sum")),
        "attention": base_model(model).config._attn_implementation,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
    }


def _wanted_batches(
    response_context: list[int], ids: dict[str, list[list[int]]], wanted: list[bool], tokens_per_batch: int
) -> list[list[tuple[int, list[int]]]]:
    """Return batches of (context, its wanted responses), made up as if all responses were wanted; none is empty."""
    members = group_by_context(response_context, ids, tokens_per_batch)
    rows = [Row(ids["contexts"][number], [ids["responses"][i] for i in group]) for number, group in members]
    batches = [[members[i] for i in numbers] for numbers in plan_batches(rows, tokens_per_batch)]
    reduced = [
        [(number, left) for number, group in batch if (left := [i for i in group if wanted[i]])]
        for batch in batches
    ]
    return [batch for batch in reduced if batch]


def group_by_context(
    response_context: list[int], ids: dict[str, list[list[int]]], tokens_per_batch: int
) -> list[tuple[int, list[int]]]:
    """Return (context, its responses) groups whose rows stay within the bound where a single response does."""
    groups: list[tuple[int, list[int]]] = []
    open_group: dict[int, tuple[list[int], int]] = {}
    for response, number in enumerate(response_context):
        cost = len(ids["responses"][response]) - 1
        members, tokens = open_group.get(number, ([], 0))
        if not members or tokens + cost > tokens_per_batch:
            members, tokens = [], len(ids["contexts"][number])
            groups.append((number, members))
        members.append(response)
        open_group[number] = (members, tokens + cost)
    return groups

"""The rating task: what a sequence classifier with one output, such as a reward model, says of each text."""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import torch

from bdpo_pipeline.engine.beginning import find_beginning, keep_beginning
from bdpo_pipeline.engine.budget import ENOUGH_PLACES
from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.jobs import RateJob
from bdpo_pipeline.models.loading import load_rating_model


def rate(job: RateJob, context: WorkerContext) -> dict[str, Any]:
    """Rate every text that no earlier run of the job has rated.

    Each batch is a ``ratings`` event, which is kept: numbers of texts, and the outputs as floats.
    """
    beginning = find_beginning(context, job.compute)
    texts = context.load_tokens()[0]["texts"]
    model: Any = load_rating_model(job.model, dtype=job.compute.dtype)
    model.to(context.device)
    config = model.config.get_text_config()
    published = config.pad_token_id
    keep_beginning(context, beginning)
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
    places = job.compute.tokens_per_batch or ENOUGH_PLACES[context.device.type]
    batches = _batches(order, [len(ids) for ids in texts], places)
    mine = context.share([numbers for numbers in batches if not beginning.has(numbers)])
    with torch.inference_mode(), context.progress("rate", sum(map(len, mine))) as advance:
        for numbers in mine:
            longest = max(len(texts[i]) for i in numbers)
            # On the right, where no place before it sees it. The model finds the place that it rates by this token.
            config.pad_token_id = padding = _padding(published, [texts[i][-1] for i in numbers])
            ids = torch.full((len(numbers), longest), padding)
            mask = torch.zeros_like(ids)
            for row, number in enumerate(numbers):
                ids[row, : len(texts[number])] = torch.tensor(texts[number])
                mask[row, : len(texts[number])] = 1
            outputs = model(input_ids=ids.to(context.device), attention_mask=mask.to(context.device)).logits
            context.keep({"event": "ratings", "texts": numbers, "ratings": outputs[:, 0].double().tolist()})
            advance(len(numbers))
    return {"results": len(texts)}


def _padding(published: int | None, ends: Sequence[int]) -> int:
    """Return the token that texts are padded with, so that each is rated at the place that the model rates if it has the text alone.

    That is the last one that does not hold the model's own padding token. A model without one, which takes one text at a time, rates the
    last place of all, so its texts are padded with what none of them ends in.
    """
    if published is not None and published >= 0:
        return published
    return next(token for token in count() if token not in ends)


def _batches(numbers: list[int], lengths: list[int], places: int) -> Iterator[list[int]]:
    """Yield the numbers in portions of at most so many places, padding included, or one text that is longer; they come sorted."""
    batch: list[int] = []
    for number in numbers:
        if batch and (len(batch) + 1) * lengths[number] > places:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch

"""The attack task: for each behaviour a suffix, in plain text, after which the model begins to comply."""

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bdpo_pipeline.engine.budget import ENOUGH_PLACES
from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.gcg import Aim, SuffixSearch
from bdpo_pipeline.engine.jobs import AttackJob
from bdpo_pipeline.engine.kept import items_of, read_kept
from bdpo_pipeline.models.adapters import load_policy
from bdpo_pipeline.models.encoding import encode_around, encode_prompts, find_special_token
from bdpo_pipeline.models.loading import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class SuffixError(ValueError):
    """The first suffix cannot be attacked with."""


def attack(job: AttackJob, context: WorkerContext) -> dict[str, Any]:
    """Attack every behaviour that no earlier run of the job has attacked; each is an ``attacks`` event, which is kept.

    Raises:
        SuffixError: the first suffix forges a turn or, behind a goal, is not read as the tokens that it has alone.
    """
    tokenizer = load_tokenizer(job.model)
    attacked = {number for _, number in items_of(read_kept(context.folder))}
    mine = context.share([i for i in range(len(job.goals)) if i not in attacked])
    policy: Any = load_policy(job.model, job.adapter, **job.compute.weights).to(context.device)
    search = SuffixSearch(
        policy,
        context.device,
        allowed_tokens(tokenizer, policy.get_input_embeddings().weight.shape[0]),
        top_k=job.top_k,
        width=job.width,
        tokens_per_batch=job.compute.tokens_per_batch or ENOUGH_PLACES[context.device.type],
    )
    with context.progress("attack", (job.steps + 1) * len(mine)) as advance:
        for number in mine:
            start, start_cpu = time.monotonic(), time.process_time()
            found = []
            for suffix_and_loss in _search(search, job, number, tokenizer):
                found.append(suffix_and_loss)
                advance(1)
            best = min(range(len(found)), key=lambda step: found[step][1])
            context.keep(
                {
                    "event": "attacks",
                    "behaviours": [number],
                    "suffix": tokenizer.decode(found[best][0]),
                    "first_loss": found[0][1],
                    "best_loss": found[best][1],
                    "best_step": best,
                    "seconds": time.monotonic() - start,
                    "cpu_seconds": time.process_time() - start_cpu,
                }
            )
    return {"results": len(job.goals)}


def _search(
    search: SuffixSearch, job: AttackJob, number: int, tokenizer: "PreTrainedTokenizerBase"
) -> Iterator[tuple[list[int], float]]:
    goal, first = job.goals[number], _encode(tokenizer, job.first_suffix)
    before, after = encode_around(tokenizer, goal)
    aim = Aim(before, after, _encode(tokenizer, job.targets[number]))

    def survives(suffixes: list[list[int]]) -> list[bool]:
        return [suffix_is_sent(tokenizer, goal, aim, suffix) for suffix in suffixes]

    if find_special_token(tokenizer, job.first_suffix) or not survives([first])[0]:
        raise SuffixError(
            f"attack.first_suffix {job.first_suffix!r} holds a special token, or is tokenised in another way behind {goal!r} than "
            "alone; begin it with a space, or with punctuation"
        )
    generator = torch.Generator().manual_seed(job.seeds[number])
    return search(aim, first, job.steps, generator, survives)


def allowed_tokens(tokenizer: "PreTrainedTokenizerBase", size: int) -> Tensor:
    """Return which of ``size`` tokens may stand in a suffix: printable ASCII, and none that forges a turn of the conversation."""
    added = tokenizer.added_tokens_decoder
    texts = tokenizer.batch_decode([[token] for token in range(min(size, len(tokenizer)))])
    allowed = [
        bool(text) and text.isascii() and text.isprintable() and token not in added
        for token, text in enumerate(texts)
    ]
    return torch.tensor(allowed + [False] * (size - len(allowed)))


def suffix_is_sent(tokenizer: "PreTrainedTokenizerBase", goal: str, aim: Aim, suffix: Sequence[int]) -> bool:
    """Return whether the goal with the suffix's text is read as the tokens that were meant."""
    (text,) = tokenizer.batch_decode([list(suffix)])
    turn = {"role": "user", "content": f"{goal}{text}"}
    return encode_prompts(tokenizer, [[turn]]) == [[*aim.before, *suffix, *aim.after]]


def _encode(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids

"""General ability: items to what the base model and the trained one make of them."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdpo_pipeline import alignment
from bdpo_pipeline.benchmarks.ability_items import (
    AbilityItems,
    ChoiceItem,
    Item,
    QuestionItem,
    ResponseItem,
)
from bdpo_pipeline.benchmarks.answers import grade
from bdpo_pipeline.engine.jobs import Compute

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]


def measure_ability(
    base_model: dict[str, Any],
    adapter: Path | None,
    items: AbilityItems,
    *,
    models: Sequence[str] = ("base", "adapter"),
    batch_size: int,
    compute: Compute,
    scratch: Path,
) -> "pd.DataFrame":
    """Return the ``ability_results`` table (docs/artifacts.md): every score of every item, model by model.

    Args:
        base_model: the ``base_model`` artifact.
        adapter: folder of what was trained; may be None where it is not measured.
        items: from :func:`~bdpo_pipeline.benchmarks.ability_items.read_items`.
        models: who is measured: ``base``, ``adapter`` or both.
        batch_size: most questions answered at a time.
        compute: where and how.
        scratch: folder for the files of jobs.

    Raises:
        ValueError: the adapter is to be measured, and there is none.
    """
    import pandas as pd

    if "adapter" in models and adapter is None:
        raise ValueError(
            "the adapter is to be measured and there is none: give its folder, or models=['base']"
        )
    measured = {model: adapter if model == "adapter" else None for model in models}
    how: dict[str, Any] = {"compute": compute, "scratch": scratch}
    rows = [
        *_choose_options(base_model, measured, items.choices, how),
        *_answer_questions(base_model, measured, items.questions, how | {"batch_size": batch_size}),
        *_score_responses(base_model, measured, items.responses, how),
    ]
    columns = ["model", "task", "item_id", "prompt_key", "measure", "score", "detail"]
    return pd.DataFrame(rows, columns=columns).astype({"score": float})


def _choose_options(
    base_model: dict[str, Any], measured: dict[str, Path | None], items: list[ChoiceItem], how: dict[str, Any]
) -> Iterator[Row]:
    """Yield whether each model gives the right option the highest log-prob, in all and, of some items, per character."""
    from bdpo_pipeline.models.encoding import encode_responses
    from bdpo_pipeline.models.loading import load_tokenizer

    if not items:
        return
    tokenizer = load_tokenizer(base_model["path"])
    encoded = encode_responses(tokenizer, [(item.messages, item.options) for item in items])
    # Options are compared as beginnings of an answer, without the token that ends it, as others do.
    options = [ids[:-1] for _, responses in encoded for ids in responses]
    of_item = [number for number, item in enumerate(items) for _ in item.options]
    contexts = [context for context, _ in encoded]
    for model, adapter in measured.items():
        logps = iter(alignment.score_responses(base_model, adapter, contexts, options, of_item, **how))
        for item in items:
            found = [next(logps) for _ in item.options]
            yield _choice(model, item, "accuracy", found)
            if item.normalised:
                per_character = [logp / len(option) for logp, option in zip(found, item.options, strict=True)]
                yield _choice(model, item, "accuracy_normalised", per_character)


def _choice(model: str, item: ChoiceItem, measure: str, values: list[float]) -> Row:
    best = max(range(len(values)), key=lambda number: values[number])
    others = [value for number, value in enumerate(values) if number != item.answer]
    return _row(model, item, measure, values[item.answer] > max(others), item.options[best])


def _answer_questions(
    base_model: dict[str, Any],
    measured: dict[str, Path | None],
    items: list[QuestionItem],
    how: dict[str, Any],
) -> Iterator[Row]:
    """Yield whether the greedy answers of each model match."""
    import pandas as pd

    adapter = measured.get("adapter")
    for max_new_tokens in sorted({item.max_new_tokens for item in items}):
        asked = {item.item_id: item for item in items if item.max_new_tokens == max_new_tokens}
        prompts = pd.DataFrame(
            {
                "prompt_id": list(asked),
                "prompt_set": [item.task for item in asked.values()],
                "prompt": [item.messages[-1]["content"] for item in asked.values()],
                "goal": None,
                "category": None,
                "desired": "comply",
            }
        )
        answers = alignment.generate_responses(
            base_model, adapter, prompts, models=list(measured), max_new_tokens=max_new_tokens, **how
        )
        for answer in answers.to_dict("records"):
            item = asked[answer["prompt_id"]]
            for measure, right in grade(item.match, item.answer, answer["response"]).items():
                yield _row(answer["model"], item, measure, right, answer["response"])


def _score_responses(
    base_model: dict[str, Any],
    measured: dict[str, Path | None],
    items: list[ResponseItem],
    how: dict[str, Any],
) -> Iterator[Row]:
    """Yield the mean over tokens of -log p under each model, and of the divergence of the trained one from the base model."""
    from bdpo_pipeline.models.encoding import encode_responses
    from bdpo_pipeline.models.loading import load_tokenizer

    if not items:
        return
    tokenizer = load_tokenizer(base_model["path"])
    encoded = encode_responses(tokenizer, [(item.messages, [item.response]) for item in items])
    contexts, responses = [context for context, _ in encoded], [ids for _, [ids] in encoded]
    adapter = measured.get("adapter")
    found: dict[str, Sequence[float]] = {}
    divergences: Sequence[float] = []
    if adapter is None:
        found["base"] = alignment.score_responses(
            base_model, None, contexts, responses, range(len(responses)), **how
        )
    else:
        table = alignment.measure_divergence(base_model, adapter, contexts, responses, **how)
        found = {"base": list(table["reference_logp"]), "adapter": list(table["policy_logp"])}
        divergences = list(table["kl"])
    tokens = [len(ids) for ids in responses]
    for model in measured:
        for item, logp, count in zip(items, found[model], tokens, strict=True):
            yield _row(model, item, "nats_per_token", -logp / count, f"{count} tokens")
    for item, divergence, count in zip(items, divergences, tokens, strict=False):
        yield _row("adapter", item, "kl_nats_per_token", divergence / count, f"{count} tokens")


def _row(model: str, item: Item, measure: str, score: float, detail: str) -> Row:
    conversation = json.dumps(item.messages, sort_keys=True)
    return {
        "model": model,
        "task": item.task,
        "item_id": item.item_id,
        "prompt_key": hashlib.sha256(conversation.encode()).hexdigest()[:16],
        "measure": measure,
        "score": float(score),
        "detail": detail,
    }

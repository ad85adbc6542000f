"""Scores of a tiny model with an adapter, through real workers, against plain transformers."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from bdpo_pipeline.ability import measure_ability
from bdpo_pipeline.benchmarks.ability_items import AbilityItems, ChoiceItem, QuestionItem, ResponseItem
from bdpo_pipeline.engine.jobs import Compute
from bdpo_pipeline.models.adapters import add_lora, load_policy
from bdpo_pipeline.models.loading import load_model, load_tokenizer

COMPUTE = Compute(threads=1, tokens_per_batch=8192)


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


ITEMS = AbilityItems(
    choices=[
        ChoiceItem("c/1/0001", ask("Is snow white?"), ["yes", "no"], 0, False),
        ChoiceItem("c/1/0002", ask("Is coal white?"), ["yes", "no"], 1, False),
        ChoiceItem(
            "c/2/0001",
            [*ask("Hello."), {"role": "assistant", "content": "Hi!"}, *ask("How do I boil an egg?")],
            ["Put it into boiling water for eight minutes.", "No.", "Ask a hen."],
            0,
            True,
        ),
    ],
    questions=[
        QuestionItem("q/0001", ask("1 + 1?"), "#### 2", "number", 5),
        QuestionItem("s/0001", ask("Who?"), "Nobody", "text", 5),
    ],
    responses=[
        ResponseItem("r/0001", ask("How are you?"), "Fine, thank you."),
        ResponseItem("r/0002", ask("What is red?"), "A ripe tomato is."),
    ],
)


@pytest.fixture(scope="module")
def base_model(tiny_model: Any) -> dict[str, Any]:
    return tiny_model("llama")


@pytest.fixture(scope="module")
def adapter(base_model: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    policy = add_lora(
        load_model(base_model["path"], dtype="float32"),
        r=4,
        alpha=64,
        dropout=0.0,
        target_modules="all-linear",
        seed=0,
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3, generator=generator)
    folder = tmp_path_factory.mktemp("adapter")
    policy.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def measured(
    base_model: dict[str, Any], adapter: Path, tmp_path_factory: pytest.TempPathFactory
) -> pd.DataFrame:
    scratch = tmp_path_factory.mktemp("scratch")
    return measure_ability(base_model, adapter, ITEMS, batch_size=4, compute=COMPUTE, scratch=scratch)


def logps(policy: Any, tokenizer: Any, messages: list[dict[str, str]], text: str) -> torch.Tensor:
    prompt = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    answer = tokenizer(text, add_special_tokens=False).input_ids
    with torch.no_grad():
        table = policy(torch.tensor([prompt + answer])).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
    return table.gather(-1, torch.tensor(answer)[:, None])[:, 0]


def scores(table: pd.DataFrame, model: str, measure: str) -> dict[str, float]:
    rows = table[(table["model"] == model) & (table["measure"] == measure)]
    return dict(zip(rows["item_id"], rows["score"], strict=True))


@pytest.mark.parametrize("model", ["base", "adapter"])
def test_every_score_is_the_plain_one(measured, base_model, adapter, model):
    policy = load_policy(base_model["path"], adapter if model == "adapter" else None, dtype="float32")
    tokenizer = load_tokenizer(base_model["path"])
    chosen, normalised = scores(measured, model, "accuracy"), scores(measured, model, "accuracy_normalised")
    for item in ITEMS.choices:
        found = [logps(policy, tokenizer, item.messages, option).sum() for option in item.options]
        assert chosen[item.item_id] == float(max(found) == found[item.answer])
        if item.normalised:
            each = [logp / len(option) for logp, option in zip(found, item.options, strict=True)]
            assert normalised[item.item_id] == float(max(each) == each[item.answer])
    assert set(normalised) == {"c/2/0001"}
    nats = scores(measured, model, "nats_per_token")
    for item in ITEMS.responses:
        plain = logps(policy, tokenizer, item.messages, f"{item.response}<|im_end|>")
        assert nats[item.item_id] == pytest.approx(-float(plain.mean()), abs=1e-4)


def test_answers_are_graded_and_kept(measured):
    asked = measured[measured["task"].isin(["q", "s"])]
    assert len(asked) == 2 * 2 * 2
    assert set(asked["measure"]) == {"accuracy", "accuracy_lenient"}
    assert asked.groupby(["model", "item_id"])["detail"].nunique().eq(1).all()


def test_divergence_is_the_adapters_alone(measured):
    divergences = scores(measured, "adapter", "kl_nats_per_token")
    assert set(divergences) == {"r/0001", "r/0002"}
    assert min(divergences.values()) > 0
    assert scores(measured, "base", "kl_nats_per_token") == {}


def test_a_model_alone_is_measured_as_beside_the_other(measured, base_model, adapter, tmp_path):
    how = {"batch_size": 4, "compute": COMPUTE, "scratch": tmp_path}
    responses, choices = AbilityItems([], [], ITEMS.responses), AbilityItems(ITEMS.choices, [], [])
    for model, given, items, task in (("base", None, responses, "r"), ("adapter", adapter, choices, "c")):
        alone = measure_ability(base_model, given, items, models=[model], **how)
        expected = measured[(measured["model"] == model) & (measured["task"] == task)]
        assert list(alone["item_id"]) == list(expected["item_id"])
        assert list(alone["score"]) == pytest.approx(list(expected["score"]), abs=1e-5)


def test_the_adapter_is_not_measured_where_there_is_none(base_model, tmp_path):
    with pytest.raises(ValueError, match="the adapter is to be measured and there is none"):
        measure_ability(base_model, None, ITEMS, batch_size=4, compute=COMPUTE, scratch=tmp_path)


def test_conversations_tell_which_items_belong_together(measured):
    keys = measured.groupby("item_id")["prompt_key"].nunique()
    assert keys.eq(1).all()
    assert measured["prompt_key"].nunique() == measured["item_id"].nunique()

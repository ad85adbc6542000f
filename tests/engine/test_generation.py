"""Greedy answers through the worker, and of any batching, against transformers one prompt at a time."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdpo_pipeline.engine.answering import Answering
from bdpo_pipeline.engine.generation import _end_tokens
from bdpo_pipeline.engine.jobs import Compute, GenerateJob
from bdpo_pipeline.engine.launcher import run_job
from bdpo_pipeline.models.adapters import add_lora
from bdpo_pipeline.models.loading import load_model, load_tokenizer
from bdpo_pipeline.models.tiny import ARCHITECTURES

NEVER = {-1}


def change_something(policy: torch.nn.Module, only: str = "") -> None:
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if only in name:
                noise = torch.empty_like(parameter).normal_(
                    0, 0.3, generator=torch.Generator().manual_seed(1)
                )
                parameter.add_(noise)


def save_adapter(path: str, folder) -> None:
    policy = add_lora(
        load_model(path, dtype="float32"), r=4, alpha=64, dropout=0.0, target_modules="all-linear", seed=0
    )
    change_something(policy, "lora_B")
    policy.save_pretrained(folder)


def save_whole_model(path: str, folder) -> None:
    model = load_model(path, dtype="float32")
    change_something(model)
    model.save_pretrained(folder)


def greedy(model, prompt: list[int], number: int, ends: set[int]) -> list[int]:
    """Let transformers answer one prompt, likeliest token by likeliest token."""
    ids = torch.tensor([prompt])
    options = {"max_new_tokens": number, "do_sample": False, "repetition_penalty": 1.0, "pad_token_id": 0}
    whole = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), eos_token_id=sorted(ends), **options
    )
    return whole[0, len(prompt) :].tolist()


def random_prompts(lengths: list[int], beginning: int = 0) -> list[list[int]]:
    generator = np.random.default_rng(0)
    shared = generator.integers(0, 250, beginning).tolist()
    return [shared + generator.integers(0, 250, n).tolist() for n in lengths]


def answer(model, prompts: list[list[int]], ends: set[int], number: int, **options) -> dict[int, list[int]]:
    settings = {"batch_size": 4, "cache_bytes": 1 << 30, "tokens_per_batch": 64} | options
    answering = Answering(model, torch.device("cpu"), ends, max_new_tokens=number, **settings)
    answers: dict[int, list[int]] = {}
    with torch.inference_mode():
        for places, found in answering(prompts):
            assert not answers.keys() & set(places)
            answers.update(zip(places, found, strict=True))
    return answers


@pytest.mark.parametrize(("save", "processes"), [(save_adapter, 2), (save_whole_model, 1)])
def test_answers_through_the_worker_are_the_greedy_ones_of_each_model(tiny_model, tmp_path, save, processes):
    from peft import PeftModel

    path = tiny_model("llama")["path"]
    save(path, tmp_path / "trained")
    prompts = random_prompts(np.random.default_rng(1).integers(3, 40, 7).tolist(), beginning=5)
    answers: dict[tuple[str, int], tuple[str, int, bool]] = {}

    def keep(event):
        if event["event"] == "generations":
            names = ("prompts", "response", "response_tokens", "finished")
            for number, *row in zip(*(event[name] for name in names), strict=True):
                assert (event["model"], number) not in answers
                answers[event["model"], number] = tuple(row)

    compute = Compute(device="cpu", threads=1, processes=processes)
    models = ["base", "adapter"]
    job = GenerateJob(path, compute, str(tmp_path / "trained"), models, max_new_tokens=6, batch_size=4)
    run_job(job, tmp_path / "scratch", ragged={"contexts": prompts}, on_event=keep)

    tokenizer, base = load_tokenizer(path), load_model(path, dtype="float32")
    ends = _end_tokens(base, tokenizer)
    expected = {("base", i): greedy(base, p, 6, ends) for i, p in enumerate(prompts)}
    trained = (
        PeftModel.from_pretrained(base, tmp_path / "trained").eval()
        if save is save_adapter
        else load_model(tmp_path / "trained", dtype="float32")
    )
    expected |= {("adapter", i): greedy(trained, p, 6, ends) for i, p in enumerate(prompts)}
    assert answers.keys() == expected.keys()
    for key, ids in expected.items():
        text = tokenizer.decode(ids, skip_special_tokens=True)
        assert answers[key] == (text, len(ids), ids[-1] in ends)
    assert any(expected["base", i] != expected["adapter", i] for i in range(len(prompts)))


@settings(max_examples=25, deadline=None)
@given(data=st.data(), architecture=st.sampled_from(ARCHITECTURES))
def test_whatever_the_batching_each_prompt_gets_the_answer_it_gets_alone(tiny_model, data, architecture):
    model = loaded(tiny_model, architecture)
    lengths = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=9))
    prompts = random_prompts(lengths, beginning=data.draw(st.sampled_from([0, 1, 12])))
    # Any tokens may be the ends: so answers end early, at the first token, or never.
    ends = data.draw(st.sets(st.integers(0, 255), max_size=60)) or NEVER
    number = data.draw(st.integers(1, 12))
    found = answer(
        model,
        prompts,
        ends,
        number,
        batch_size=data.draw(st.integers(1, 10)),
        tokens_per_batch=data.draw(st.sampled_from([1, 30, 1000])),
        cache_bytes=data.draw(st.sampled_from([0, 20_000, 1 << 30])),
    )
    assert found == {i: greedy(model, prompt, number, ends) for i, prompt in enumerate(prompts)}


@cache
def loaded(tiny_model, architecture):
    return load_model(tiny_model(architecture)["path"], dtype="float32")


class Watched(torch.nn.Module):
    """A model that notes the rows and places of each forward pass, and the bytes of its cache afterwards."""

    def __init__(self, model) -> None:
        super().__init__()
        self.model, self.shapes, self.cache_bytes = model, [], []

    def forward(self, **inputs):
        output = self.model(**inputs)
        self.shapes.append(tuple(inputs["input_ids"].shape))
        self.cache_bytes.append(sum(k.nbytes + v.nbytes for k, v, *_ in inputs["past_key_values"]))
        return output


def test_rows_that_have_ended_are_not_computed_and_give_their_room_to_others(tiny_model):
    model = Watched(loaded(tiny_model, "llama"))
    prompts = random_prompts([5] * 24)
    firsts = [greedy(model.model, prompt, 3, NEVER) for prompt in prompts]
    ends = {ids[1] for ids in firsts[::2]}
    expected = [greedy(model.model, prompt, 20, ends) for prompt in prompts]
    assert {len(ids) for ids in expected} >= {2, 20}
    assert answer(model, prompts, ends, 20, batch_size=8) == dict(enumerate(expected))
    steps = [rows for rows, places in model.shapes if places == 1]
    # A step a token but the first of each answer, which comes with the prompt.
    assert sum(steps) == sum(len(ids) - 1 for ids in expected)
    assert max(steps) == 8


def test_what_prompts_begin_with_is_computed_once(tiny_model):
    model = Watched(loaded(tiny_model, "llama"))
    prompts = random_prompts([4, 4, 4, 4], beginning=30)
    answer(model, prompts, NEVER, 1, tokens_per_batch=1000, batch_size=16)
    assert sum(rows * places for rows, places in model.shapes) == 30 + 4 * 4


def test_bounds_of_cache_rows_and_places_hold(tiny_model):
    model = Watched(loaded(tiny_model, "llama"))
    prompts = random_prompts(list(range(3, 40, 2)))
    answer(model, prompts, NEVER, 10)
    per_place = model.cache_bytes[0] / (model.shapes[0][0] * model.shapes[0][1])
    largest_row = (39 + 10) * per_place
    for bound in (2 * largest_row, 5 * largest_row):
        model.shapes.clear()
        model.cache_bytes.clear()
        answer(model, prompts, NEVER, 10, batch_size=8, cache_bytes=int(bound), tokens_per_batch=60)
        assert largest_row * 0.9 < max(model.cache_bytes) <= bound
        assert max(rows for rows, _ in model.shapes) <= 8
        assert all(rows * places <= 60 or rows == 1 for rows, places in model.shapes)


def test_an_answer_ends_at_any_of_the_end_tokens(tiny_model):
    path = tiny_model("llama")["path"]
    model, tokenizer = load_model(path, dtype="float32"), load_tokenizer(path)
    [prompt] = random_prompts([10])
    free = greedy(model, prompt, 12, NEVER)
    model.generation_config.eos_token_id = [free[7], free[4]]
    ends = _end_tokens(model, tokenizer)
    assert ends == {free[7], free[4], tokenizer.eos_token_id}
    assert (
        answer(model, [prompt], ends, 12)[0]
        == free[: min(free.index(token) for token in ends if token in free) + 1]
    )


def test_a_penalty_in_the_model_s_own_settings_does_not_count(tiny_model):
    model = load_model(tiny_model("llama")["path"], dtype="float32")
    prompts = random_prompts([9, 12])
    expected = {i: greedy(model, prompt, 12, NEVER) for i, prompt in enumerate(prompts)}
    model.generation_config.repetition_penalty = 5.0
    assert answer(model, prompts, NEVER, 12) == expected


def test_no_prompts_no_answers(tiny_model):
    assert answer(loaded(tiny_model, "llama"), [], NEVER, 3) == {}

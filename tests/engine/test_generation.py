"""Greedy answers through the worker against transformers one prompt at a time."""

import numpy as np
import torch

from bdpo_pipeline.engine.generation import _cut_after_end, _end_tokens
from bdpo_pipeline.engine.jobs import Compute, GenerateJob
from bdpo_pipeline.engine.launcher import run_job
from bdpo_pipeline.models.adapters import add_lora
from bdpo_pipeline.models.loading import load_model, load_tokenizer


def adapter_that_changes_something(path: str, folder) -> None:
    policy = add_lora(
        load_model(path, dtype="float32"), r=4, alpha=64, dropout=0.0, target_modules="all-linear", seed=0
    )
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    policy.save_pretrained(folder)


def greedy(model, prompt: list[int], number: int, end: int) -> list[int]:
    """Take the likeliest token again and again, without a cache."""
    ids = list(prompt)
    for _ in range(number):
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == end:
            break
    return ids[len(prompt) :]


def test_batched_answers_are_the_greedy_ones_of_each_model(tiny_model, tmp_path):
    from peft import PeftModel

    path = tiny_model("llama")["path"]
    adapter_that_changes_something(path, tmp_path / "adapter")
    generator = np.random.default_rng(0)
    prompts = [generator.integers(0, 250, int(n)).tolist() for n in generator.integers(3, 40, 7)]
    answers: dict[tuple[str, int], tuple[str, int, bool]] = {}

    def keep(event):
        if event["event"] == "generations":
            rows = zip(
                event["prompts"], event["response"], event["response_tokens"], event["finished"], strict=True
            )
            answers.update({(event["model"], number): tuple(row) for number, *row in rows})

    compute = Compute(device="cpu", threads=1)
    job = GenerateJob(path, compute, str(tmp_path / "adapter"), max_new_tokens=6, batch_size=3)
    run_job(job, tmp_path / "scratch", ragged={"contexts": prompts}, on_event=keep)

    tokenizer, base = load_tokenizer(path), load_model(path, dtype="float32")
    expected = {("base", i): greedy(base, p, 6, tokenizer.eos_token_id) for i, p in enumerate(prompts)}
    policy = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    expected |= {("adapter", i): greedy(policy, p, 6, tokenizer.eos_token_id) for i, p in enumerate(prompts)}
    assert answers.keys() == expected.keys()
    for key, ids in expected.items():
        text = tokenizer.decode(ids, skip_special_tokens=True)
        assert answers[key] == (text, len(ids), ids[-1] == tokenizer.eos_token_id)
    assert any(expected[("base", i)] != expected[("adapter", i)] for i in range(len(prompts)))


def test_an_answer_ends_at_the_first_end_token_of_any_kind(tiny_model):
    model, tokenizer = (
        load_model(tiny_model("llama")["path"], dtype="float32"),
        load_tokenizer(tiny_model("llama")["path"]),
    )
    model.generation_config.eos_token_id = [7, 9]
    ends = _end_tokens(model, tokenizer)
    assert ends == {7, 9, tokenizer.eos_token_id}
    assert _cut_after_end([1, 9, 2, 7], ends) == [1, 9]
    assert _cut_after_end([1, 2], ends) == [1, 2]

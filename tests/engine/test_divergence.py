"""Divergence of a trained model from its base model against plain torch on each response alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bdpo_pipeline.engine import head
from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.divergence import diverge
from bdpo_pipeline.engine.jobs import Compute, DivergeJob, ScoreJob
from bdpo_pipeline.engine.launcher import run_job
from bdpo_pipeline.engine.scoring import score
from bdpo_pipeline.engine.tokens import pack_tokens
from bdpo_pipeline.models.adapters import add_lora, load_policy
from bdpo_pipeline.models.loading import load_model
from bdpo_pipeline.models.tiny import build_tiny_model

RESPONSES = 7


def save_adapter(path: str, folder: Path, *, scale: float, targets: Any = "all-linear") -> Path:
    policy = add_lora(
        load_model(path, dtype="float32"), r=4, alpha=8, dropout=0.0, target_modules=targets, seed=0
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, scale, generator=generator) if scale else None
    policy.save_pretrained(folder)
    return folder


def save_whole_model(path: str, folder: Path) -> Path:
    folder.mkdir()
    build_tiny_model("llama", folder, seed=3)
    return folder


@pytest.fixture(scope="module")
def ragged() -> dict[str, Any]:
    generator = np.random.default_rng(4)

    def ids(low: int, high: int) -> list[int]:
        return generator.integers(0, 250, int(generator.integers(low, high))).tolist()

    beginning = ids(6, 7)
    return {
        "contexts": [beginning + ids(3, 30) for _ in range(RESPONSES)],
        "responses": [ids(1, 40) for _ in range(RESPONSES)],
    }


def plain(policy: nn.Module, base: nn.Module, context: list[int], response: list[int]) -> dict[str, float]:
    """One response, nothing shared, the definition written out in float64."""
    with torch.no_grad():
        ids = torch.tensor([context + response])
        places = slice(len(context) - 1, -1)
        p, q = (model(input_ids=ids).logits[0, places].double().log_softmax(-1) for model in (policy, base))
        picked = torch.tensor(response)[:, None]
        return {
            "kl": float((p.exp() * (p - q)).sum()),
            "policy": float(p.gather(-1, picked).sum()),
            "reference": float(q.gather(-1, picked).sum()),
        }


def events_of(
    task: Callable[..., Any], job: Any, folder: Path, ragged: dict[str, Any]
) -> list[dict[str, Any]]:
    flat = {"response_context": np.arange(RESPONSES)} if isinstance(job, ScoreJob) else {}
    (folder / "tokens.safetensors").write_bytes(pack_tokens(ragged, flat))
    events: list[dict[str, Any]] = []
    task(job, WorkerContext(folder, Accelerator(cpu=True), events.append, events.append))
    return events


def sums_of(events: list[dict[str, Any]]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {"kl": {}, "policy": {}, "reference": {}}
    for event in events:
        if event["event"] == "divergences":
            for name, sums in found.items():
                assert not sums.keys() & set(event["responses"])
                sums.update(zip(event["responses"], event[name], strict=True))
    return found


@pytest.mark.parametrize("kind", ["adapter", "adapter on the head too", "whole model"])
@pytest.mark.parametrize("tokens_per_batch", [40, None])
def test_it_is_the_plain_definition(tiny_model, tmp_path, ragged, kind, tokens_per_batch):
    path = tiny_model("llama")["path"]
    if kind == "whole model":
        trained = save_whole_model(path, tmp_path / "trained")
    else:
        targets = ["q_proj", "down_proj", "lm_head"] if "head" in kind else "all-linear"
        trained = save_adapter(path, tmp_path / "trained", scale=0.3, targets=targets)
    compute = Compute(threads=1, tokens_per_batch=tokens_per_batch)
    found = sums_of(events_of(diverge, DivergeJob(path, compute, str(trained)), tmp_path, ragged))
    policy, base = load_policy(path, trained, dtype="float32"), load_model(path, dtype="float32")
    for number, (context, response) in enumerate(zip(*ragged.values(), strict=True)):
        expected = plain(policy, base, context, response)
        per_token = {name: found[name][number] / len(response) for name in expected}
        assert per_token == pytest.approx(
            {name: value / len(response) for name, value in expected.items()}, abs=1e-5
        )
        assert expected["kl"] > 1e-3 * len(response)


def test_a_fresh_adapter_has_moved_by_exactly_nothing(tiny_model, tmp_path, ragged):
    path = tiny_model("qwen2")["path"]
    trained = save_adapter(path, tmp_path / "trained", scale=0.0)
    job = DivergeJob(path, Compute(threads=1, tokens_per_batch=64), str(trained))
    found = sums_of(events_of(diverge, job, tmp_path, ragged))
    assert list(found["kl"].values()) == [0.0] * RESPONSES
    assert found["policy"] == found["reference"]


def test_log_probs_are_those_of_the_scoring_pass(tiny_model, tmp_path, ragged):
    path = tiny_model("llama")["path"]
    trained = save_adapter(path, tmp_path / "trained", scale=0.3)
    compute = Compute(threads=1, tokens_per_batch=64)
    found = sums_of(events_of(diverge, DivergeJob(path, compute, str(trained)), tmp_path, ragged))
    for name, adapter in (("policy", str(trained)), ("reference", None)):
        scored = events_of(score, ScoreJob(path, compute, adapter), tmp_path, ragged)
        logps = {
            number: logp
            for event in scored
            if event["event"] == "scores"
            for number, logp in zip(event["responses"], event["logps"], strict=True)
        }
        assert found[name] == pytest.approx(logps, abs=1e-5)
        (tmp_path / "kept.jsonl").unlink(missing_ok=True)


@pytest.mark.parametrize("processes", [1, 2])
def test_workers_report_every_response_once(tiny_model, tmp_path, ragged, processes):
    path = tiny_model("llama")["path"]
    trained = save_adapter(path, tmp_path / "trained", scale=0.3)
    events: list[dict[str, Any]] = []
    compute = Compute(threads=1, tokens_per_batch=64)
    job = DivergeJob(path, replace(compute, processes=processes), str(trained))
    run_job(job, tmp_path / "jobs", ragged=ragged, on_event=events.append)
    found = sums_of(events)
    assert sorted(found["kl"]) == list(range(RESPONSES))
    # Batches are dealt out, so a process may have more responses than another.
    ends = [
        event["total"] for event in events if event["event"] == "progress" and event["done"] == event["total"]
    ]
    assert len(ends) == processes
    assert sum(ends) == RESPONSES
    alone = sums_of(events_of(diverge, DivergeJob(path, compute, str(trained)), tmp_path, ragged))
    assert found["kl"] == pytest.approx(alone["kl"], abs=1e-5)


@given(seed=st.integers(0, 2**31), places=st.integers(1, 30), logit_bytes=st.sampled_from([1, 300, 10_000]))
@settings(max_examples=40, deadline=None)
def test_chunks_change_nothing_and_it_is_never_negative(seed, places, logit_bytes):
    generator = torch.Generator().manual_seed(seed)
    heads = [nn.Linear(6, 25, bias=False), nn.Linear(5, 25, bias=True)]
    hidden = [torch.randn(places, width, generator=generator) for width in (6, 5)]
    targets = torch.randint(0, 25, (places,), generator=generator)
    sides = list(zip(heads, hidden, strict=True))
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        whole = torch.stack(head.token_divergences(*sides, targets))
        patch.setattr(head, "_LOGIT_BYTES", logit_bytes)
        chunked = torch.stack(head.token_divergences(*sides, targets))
        p, q = (h(x).double().log_softmax(-1) for h, x in sides)
        oracle = nn.functional.kl_div(q, p, reduction="none", log_target=True).sum(-1)
    torch.testing.assert_close(chunked, whole, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(whole[0].double(), oracle, atol=1e-5, rtol=1e-5)
    assert (whole[0] >= -1e-6).all()

"""Real pairs, a tiny policy and its reference, for trainers of others and for ours."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bdpo_pipeline.engine.attention import usual_attention
from bdpo_pipeline.engine.layout import Row, build_batch
from bdpo_pipeline.engine.logps import response_logps
from bdpo_pipeline.models.encoding import EncodedPair
from bdpo_pipeline.models.loading import load_model, load_tokenizer
from bdpo_pipeline.objectives import BoundObjective, PairBatch
from bdpo_pipeline.preferences.readers import read_file

PAIRS = 6


@pytest.fixture(scope="session")
def real_rows() -> list[tuple[list[dict[str, str]], str, str]]:
    raw = Path(__file__).parents[2] / "data/01_raw/pku-saferlhf-safety-pairs/pairs.jsonl.gz"
    rows = (row.fields for row in read_file(raw, 1 << 20))
    return [
        ([{"role": "user", "content": row["prompt"]}], row["chosen"], row["rejected"])
        for row, _ in zip(rows, range(PAIRS), strict=False)
    ]


@pytest.fixture(scope="session")
def models(tiny_model):
    """A policy and a reference that differ, so that no log-ratio is zero."""
    path = tiny_model("llama")["path"]
    policy, reference = load_model(path, dtype="float32"), load_model(path, dtype="float32")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return path, policy.requires_grad_(True), reference


@pytest.fixture(scope="session")
def tokenizer(models):
    tokenizer = load_tokenizer(models[0])
    # TRL scores the newline that this template writes after the end of a turn, we stop at the end-of-turn token: both agree without it.
    tokenizer.chat_template = tokenizer.chat_template.replace("'<|im_end|>' + '\\n'", "'<|im_end|>'").replace(
        "'<|im_end|>' + '\n'", "'<|im_end|>'"
    )
    return tokenizer


@pytest.fixture(scope="session")
def to_preferences() -> Callable[[list[tuple[list[dict[str, str]], str, str]]], list[dict[str, Any]]]:
    """`to_preferences(rows)` gives pairs as TRL takes them."""

    def assistant(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    return lambda rows: [{"prompt": p, "chosen": assistant(c), "rejected": assistant(r)} for p, c, r in rows]


@pytest.fixture(scope="session")
def trl_arguments(tmp_path_factory) -> dict[str, Any]:
    """What every TRL config is given here: one batch of all pairs, in fp32, nothing cut off."""
    return {
        "output_dir": str(tmp_path_factory.mktemp("trl")),
        "per_device_train_batch_size": PAIRS,
        "max_length": 4096,
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "report_to": [],
        "disable_dropout": True,
    }


@pytest.fixture(scope="session")
def copy_models(models) -> Callable[[], tuple[Any, Any]]:
    """`copy_models()` gives policy and reference for TRL, with the attention that our engine replaces by its own."""
    _, policy, reference = models

    def copied() -> tuple[Any, Any]:
        with usual_attention(policy), usual_attention(reference):
            return copy.deepcopy(policy), copy.deepcopy(reference)

    return copied


@pytest.fixture(scope="session")
def score_pairs(models) -> Callable[[list[EncodedPair]], PairBatch]:
    """`score_pairs(encoded)` gives the pairs' log-probs by our engine; the policy's carry gradient, coefficients are 1."""
    _, policy, reference = models

    def score(encoded: list[EncodedPair]) -> PairBatch:
        batch = build_batch([Row(p.prompt_ids, [p.chosen_ids, p.rejected_ids]) for p in encoded])
        chosen, rejected = response_logps(policy, batch).view(-1, 2).unbind(1)
        with torch.no_grad():
            reference_chosen, reference_rejected = response_logps(reference, batch).view(-1, 2).unbind(1)
        tokens = torch.tensor([[len(p.chosen_ids), len(p.rejected_ids)] for p in encoded]).float()
        ones, unknown = torch.ones(len(encoded)), torch.full((len(encoded),), torch.nan)
        return PairBatch(
            policy_chosen=chosen,
            policy_rejected=rejected,
            chosen_tokens=tokens[:, 0],
            rejected_tokens=tokens[:, 1],
            step_chosen_tokens=tokens[:, 0].mean().expand(len(encoded)),
            reference_chosen=reference_chosen,
            reference_rejected=reference_rejected,
            chosen_coefficient=ones,
            rejected_coefficient=ones,
            chosen_unsafe=unknown,
            rejected_unsafe=unknown,
            chosen_sensitivity=unknown,
            rejected_sensitivity=unknown,
        )

    return score


@pytest.fixture(scope="session")
def weight_gradient(models) -> Callable[[torch.Tensor], dict[str, torch.Tensor]]:
    """`weight_gradient(loss)` gives the gradient of a loss of ours in the policy's weights; the graph is kept."""
    _, policy, _ = models

    def gradient(loss: torch.Tensor) -> dict[str, torch.Tensor]:
        names, weights = zip(*policy.named_parameters(), strict=True)
        return dict(zip(names, torch.autograd.grad(loss, weights, retain_graph=True), strict=True))

    return gradient


@pytest.fixture(scope="session")
def assert_gradients_agree() -> Callable[..., None]:
    def check(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
        """Up to a share of the largest entry: smaller ones are sums of larger ones that cancel."""
        assert ours.keys() == theirs.keys()
        largest = max(float(g.abs().max()) for g in theirs.values())
        assert largest > 1e-3
        for name, gradient in theirs.items():
            torch.testing.assert_close(ours[name], gradient, atol=1e-5 * largest, rtol=1e-3)

    return check


@pytest.fixture(scope="session")
def assert_rewards_agree() -> Callable[..., None]:
    def check(bound: BoundObjective, pairs: PairBatch, theirs: dict[str, float]) -> None:
        """A reward is beta times a difference of fp32 sums, each known to its last digit and no better."""
        chosen, rejected = (r.detach().double() for r in bound.rewards(pairs))
        largest = torch.stack([pairs.policy_chosen, pairs.policy_rejected]).detach().abs().max()
        last_digit = torch.finfo(torch.float32).eps * float(largest)
        for name, ours in (
            ("rewards/chosen", chosen.mean()),
            ("rewards/rejected", rejected.mean()),
            ("rewards/margins", (chosen - rejected).mean()),
            ("rewards/accuracies", (chosen > rejected).double().mean()),
        ):
            assert float(ours) == pytest.approx(
                theirs[name], rel=1e-5, abs=max(1e-5, bound.beta * last_digit)
            )

    return check

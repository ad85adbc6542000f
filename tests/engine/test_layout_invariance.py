"""The layout of a step changes neither a log-prob nor the gradient: all layouts against the model library alone, in fp32.

The oracle is transformers' own forward pass and plain autograd, on a model that the engine never touched: each response by itself, and
the usual right-padded batch.
"""

from functools import cache

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.nn.functional import logsigmoid

from bdpo_pipeline.engine.launcher import run_job
from bdpo_pipeline.engine.layout import Row, build_batch, plan_batches
from bdpo_pipeline.engine.logps import response_logps
from bdpo_pipeline.engine.lora import fuse_lora
from bdpo_pipeline.models.adapters import add_lora
from bdpo_pipeline.models.loading import load_model

from .conftest import make_job, make_pairs

BETA = 0.1
# Mistral also with a window wider than every row: its layers then take another mask of the library's.
MODELS = {"llama": None, "qwen2": None, "mistral": None, "mistral, wide window": 200}


def random_step() -> list[Row]:
    """Eight pairs of many lengths behind one system prompt, two of them with the same prompt."""
    generator = np.random.default_rng(0)

    def draw(low: int, high: int) -> list[int]:
        return generator.integers(0, 250, generator.integers(low, high)).tolist()

    system = draw(12, 13)
    rows = [Row(system + draw(1, 40), [draw(1, 60), draw(1, 60)]) for _ in range(6)]
    return [*rows, Row(rows[0].context, [draw(1, 60), draw(1, 5)]), Row([*system, 3], [[5], [6, 7]])]


STEP = random_step()
REFERENCE = torch.linspace(
    -3, 3, len(STEP)
)  # made-up margins of a reference, so that no two pairs weigh the same


def each_alone(model) -> torch.Tensor:
    found = []
    for row in STEP:
        for response in row.responses:
            logits = model(input_ids=torch.tensor([row.context + response])).logits
            table = logits.log_softmax(-1)[0, len(row.context) - 1 : -1]
            found.append(table.gather(-1, torch.tensor(response)[:, None]).sum())
    return torch.stack(found)


def padded(model) -> torch.Tensor:
    wholes = [(row.context, response) for row in STEP for response in row.responses]
    shape = len(wholes), max(len(context) + len(response) for context, response in wholes)
    ids, mask, scored = (torch.zeros(shape, dtype=torch.long) for _ in range(3))
    for i, (context, response) in enumerate(wholes):
        length = len(context) + len(response)
        ids[i, :length] = torch.tensor(context + response)
        mask[i, :length] = 1
        scored[i, len(context) : length] = 1
    table = model(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)[:, :-1]
    return (table.gather(-1, ids[:, 1:, None]).squeeze(-1) * scored[:, 1:]).sum(1)


ORACLES = {"each alone": each_alone, "padded": padded}


def groups_of(size: int, order: list[int]) -> list[list[int]]:
    return [order[i : i + size] for i in range(0, len(order), size)]


IN_ORDER = list(range(len(STEP)))
SHUFFLED = np.random.default_rng(1).permutation(len(STEP)).tolist()
# Micro-batches as numbers of pairs, whether a prompt serves chosen and rejected, and whether rows share their beginnings.
LAYOUTS = {
    "micro-batches of 1": (groups_of(1, IN_ORDER), True, True),
    "one of 8": ([IN_ORDER], True, True),
    "one of 8, beginnings not shared": ([IN_ORDER], True, False),
    "one of 8, nothing shared": ([IN_ORDER], False, False),
    "one of 8, shuffled": ([SHUFFLED], True, True),
    "of 3, shuffled": (groups_of(3, SHUFFLED), True, True),
    "by cost": (plan_batches(STEP, 200), True, True),
}


def load(path: str, name: str, trained: str):
    """A model with an adapter that changes something, or with all its weights trained."""
    model = load_model(path, dtype="float32")
    model.config.sliding_window = MODELS[name]
    if trained == "all weights":
        return model.requires_grad_(True)
    policy = add_lora(model, r=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name_, parameter in policy.named_parameters():
            if "lora_B" in name_:
                parameter.normal_(0, 0.1, generator=generator)
    return policy


def loss_of(logps: torch.Tensor, numbers: list[int]) -> torch.Tensor:
    """DPO's loss of some pairs of the step, as their part of its mean."""
    chosen, rejected = logps.view(-1, 2).unbind(1)
    return -logsigmoid(BETA * (chosen - rejected - REFERENCE[numbers])).sum() / len(STEP)


def gradient(model) -> torch.Tensor:
    """The gradient of all that is trained, each tensor by its own largest entry: small ones count as much as large ones."""
    parts = [p.grad / p.grad.abs().max() for p in model.parameters() if p.requires_grad]
    return torch.cat([part.flatten() for part in parts])


@pytest.fixture(scope="module")
def outcome(tiny_model):
    """`outcome(model, trained, oracle or layout)`: log-probs and gradient of the step."""

    @cache
    def compute(name: str, trained: str, way: str) -> tuple[torch.Tensor, torch.Tensor]:
        model = load(tiny_model(name.split(",")[0])["path"], name, trained)
        if way in ORACLES:
            logps = ORACLES[way](model)
            loss_of(logps, IN_ORDER).backward()
            return logps.detach(), gradient(model)
        fuse_lora(model)
        groups, share_prompt, share_beginnings = LAYOUTS[way]
        found = torch.empty(len(STEP), 2)
        for numbers in groups:
            rows = [STEP[i] for i in numbers]
            if not share_prompt:
                rows = [Row(row.context, [response]) for row in rows for response in row.responses]
            logps = response_logps(model, build_batch(rows, share_beginnings=share_beginnings))
            loss_of(logps, numbers).backward()
            found[numbers] = logps.detach().view(-1, 2)
        return found.flatten(), gradient(model)

    return compute


@pytest.mark.parametrize("trained", ["adapter", "all weights"])
@pytest.mark.parametrize("name", MODELS)
def test_both_oracles_agree(outcome, name, trained):
    (logps, slopes), (other_logps, other_slopes) = (outcome(name, trained, way) for way in ORACLES)
    torch.testing.assert_close(logps, other_logps, atol=1e-4, rtol=0)
    torch.testing.assert_close(slopes, other_slopes, atol=1e-4, rtol=0)


@pytest.mark.parametrize("trained", ["adapter", "all weights"])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_log_probs_and_gradient_of_a_step_are_those_of_the_model_library(outcome, name, trained, layout):
    expected_logps, expected_slopes = outcome(name, trained, "each alone")
    logps, slopes = outcome(name, trained, layout)
    torch.testing.assert_close(logps, expected_logps, atol=1e-4, rtol=0)
    torch.testing.assert_close(slopes, expected_slopes, atol=1e-4, rtol=0)


def test_the_layouts_differ(outcome):
    """Otherwise the tests above would compare a thing with itself."""

    def places(groups, share_prompt, share_beginnings):
        rows = [STEP[i] for i in groups[0]]
        if not share_prompt:
            rows = [Row(row.context, [r]) for row in rows for r in row.responses]
        return len(groups), build_batch(rows, share_beginnings=share_beginnings).input_ids.tolist()

    found = [places(*layout) for layout in LAYOUTS.values()]
    assert all(one != other for i, one in enumerate(found) for other in found[:i])
    assert len(LAYOUTS["by cost"][0]) not in (1, len(STEP))
    plain = outcome("llama", "all weights", "each alone")[0]
    assert not torch.allclose(plain, outcome("llama", "adapter", "each alone")[0], atol=1e-2)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral"])
def test_processes_change_no_step_and_no_adapter(tiny_model, tmp_path, architecture):
    """Through the real launcher: 13 pairs, 5 a step, so that no step divides by two; all in one pass, or pair by pair."""
    pairs = make_pairs(number=15, validation=2)
    results = []
    for processes, tokens_per_batch in [(1, 4000), (2, 1), (2, 4000)]:
        job = make_job(
            tiny_model(architecture)["path"],
            processes=processes,
            tokens_per_batch=tokens_per_batch,
            pairs_per_step=5,
            epochs=1,
        )
        result, folder = run_job(job, tmp_path, ragged=pairs.ragged, flat=pairs.flat)
        assert result["processes"] == processes
        results.append((result["history"], load_file(folder / "adapter" / "adapter_model.safetensors")))
    (history, adapter), *others = results
    assert max(np.abs(value).max() for name, value in adapter.items() if "lora_B" in name) > 1e-3
    for other_history, other_adapter in others:
        for row, other in zip(history, other_history, strict=True):
            assert (row.keys(), row["split"]) == (other.keys(), other["split"])
            numbers, other_numbers = ({k: v for k, v in r.items() if k != "split"} for r in (row, other))
            assert other_numbers == pytest.approx(numbers, abs=1e-4, rel=1e-4)
        assert adapter.keys() == other_adapter.keys()
        for name, value in adapter.items():
            np.testing.assert_allclose(other_adapter[name], value, atol=1e-5, rtol=0)

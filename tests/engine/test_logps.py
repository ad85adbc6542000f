"""The engine's log-probs against the model's own forward pass on each response alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdpo_pipeline.engine.attention import usual_attention
from bdpo_pipeline.engine.head import token_logps
from bdpo_pipeline.engine.layout import Row, build_batch, plan_batches
from bdpo_pipeline.engine.logps import UnsupportedModelError, check_supported, response_logps
from bdpo_pipeline.models.adapters import add_lora
from bdpo_pipeline.models.loading import load_model

ARCHITECTURES = ("llama", "qwen2", "mistral")
ids = st.lists(st.integers(0, 249), min_size=1, max_size=40)
rows = st.lists(st.builds(Row, ids, st.lists(ids, min_size=1, max_size=3)), min_size=1, max_size=5)


def alone(model, row: Row) -> list[torch.Tensor]:
    """Score each response by itself, with nothing shared, padded or left out: the plain definition."""
    logps = []
    for response in row.responses:
        whole = torch.tensor([row.context + response])
        with usual_attention(model.get_base_model()):
            table = model(input_ids=whole).logits.log_softmax(-1)[0, len(row.context) - 1 : -1]
        logps.append(table.gather(-1, torch.tensor(response)[:, None]).sum())
    return logps


@pytest.fixture(scope="module")
def models(tiny_model):
    loaded = {}
    for name in ARCHITECTURES:
        model = load_model(tiny_model(name)["path"], dtype="float32")
        policy = add_lora(model, r=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0)
        with torch.no_grad():
            # A fresh adapter changes nothing; this one does.
            for name_, parameter in policy.named_parameters():
                if "lora_B" in name_:
                    parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
        loaded[name] = policy
    return loaded


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(batch=rows)
@settings(max_examples=15, deadline=None)
def test_shared_prefix_and_padding_change_no_log_prob(models, architecture, batch):
    model = models[architecture]
    with torch.no_grad():
        ours = response_logps(model, build_batch(batch))
        theirs = torch.stack([logp for row in batch for logp in alone(model, row)])
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient_of_a_step_is_the_same_in_every_layout(models, architecture):
    model = models[architecture]
    generator = np.random.default_rng(0)
    draw = lambda: generator.integers(0, 250, generator.integers(1, 60)).tolist()  # noqa: E731
    step = [Row(draw(), [draw(), draw()]) for _ in range(8)]
    weights = torch.tensor([1.0, -0.5])

    def gradient(backward) -> torch.Tensor:
        model.zero_grad()
        backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])

    def plain():
        for row in step:
            (torch.stack(alone(model, row)) @ weights).backward()

    def laid_out(tokens_per_batch):
        for numbers in plan_batches(step, tokens_per_batch):
            logps = response_logps(model, build_batch([step[i] for i in numbers]))
            (logps.view(-1, 2) @ weights).sum().backward()

    expected = gradient(plain)
    for tokens_per_batch in (1, 300, 10_000):
        found = gradient(lambda bound=tokens_per_batch: laid_out(bound))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_frozen_head_has_the_value_and_gradient_of_autograd(bias, monkeypatch):
    monkeypatch.setattr("bdpo_pipeline.engine.head._LOGIT_BYTES", 4 * 50 * 7)  # chunks of 7 places
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 50, bias=bias).double()
    hidden, targets = torch.randn(30, 16).double(), torch.randint(0, 50, (30,))
    weights = torch.randn(30).double()
    results = []
    for frozen in (False, True):
        head.requires_grad_(not frozen)
        h = hidden.clone().requires_grad_()
        logps = token_logps(head, h, targets)
        (logps * weights).sum().backward()
        results.append((logps.detach().double(), h.grad))
    torch.testing.assert_close(results[1], results[0], atol=1e-5, rtol=1e-5)


def test_sliding_window_shorter_than_the_rows_is_refused(tiny_model):
    model = load_model(tiny_model("mistral")["path"], dtype="float32")
    model.config.sliding_window = 64
    # However many responses share the context of a row, it is the longest of them that counts.
    check_supported(model, torch.device("cpu"), [Row([1] * 60, [[2] * 4] * 9)])
    with pytest.raises(
        UnsupportedModelError, match="of 64 tokens and a response of this job with its context takes 65"
    ):
        check_supported(model, torch.device("cpu"), [Row([1] * 60, [[2] * 4, [2] * 5])])


def test_logits_that_the_head_alone_does_not_give_are_refused(tiny_model):
    model = load_model(tiny_model("llama")["path"], dtype="float32")
    plain = model.forward

    def scaled(**inputs):
        output = plain(**inputs)
        output.logits = output.logits * 0.5
        return output

    model.forward = scaled
    with pytest.raises(UnsupportedModelError, match="changes its logits"):
        check_supported(model, torch.device("cpu"), [Row([1, 2, 3], [[4, 5], [6, 7, 8]])])

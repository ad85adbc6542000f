"""Log-probs from hidden states, beside plain log-softmax and autograd."""

import pytest
import torch

from bdpo_pipeline.engine import head as heads
from bdpo_pipeline.engine.head import token_logps

PLACES, WIDTH, VOCABULARY = 23, 16, 301


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    # Five places a chunk, so that the last is a partial one.
    monkeypatch.setattr(heads, "_LOGIT_BYTES", 5 * 4 * VOCABULARY)


def make(dtype, bias):
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(WIDTH, VOCABULARY, bias=bias)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    hidden = torch.randn(PLACES, WIDTH, generator=generator, dtype=dtype).requires_grad_()
    targets = torch.randint(0, VOCABULARY, (PLACES,), generator=generator)
    weights = torch.randn(PLACES, generator=generator)
    return head.to(dtype), hidden, targets, weights


def plain(head, hidden, targets):
    return head(hidden).float().log_softmax(-1)[torch.arange(PLACES), targets]


def gradients(logps, weights, *tensors):
    return torch.autograd.grad((logps * weights).sum(), tensors)


@pytest.mark.parametrize("bias", [False, True])
# Nothing kept, the first two of five chunks, all of them.
@pytest.mark.parametrize("kept_bytes", [0, 2 * 5 * VOCABULARY * 4, 1 << 30])
def test_a_trained_head_has_the_gradient_of_plain_autograd(bias, kept_bytes):
    head, hidden, targets, weights = make(torch.float32, bias)
    tensors = (hidden, *head.parameters())
    expected = plain(head, hidden, targets)
    found = token_logps(head, hidden, targets, kept_bytes=kept_bytes)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(
        gradients(found, weights, *tensors), gradients(expected, weights, *tensors), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_retained_graph_gives_the_same_gradient_again():
    head, hidden, targets, weights = make(torch.float32, False)
    total = (token_logps(head, hidden, targets) * weights).sum()
    first = torch.autograd.grad(total, head.weight, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(total, head.weight)[0], first)


def test_kept_and_recomputed_probabilities_give_the_same_bits():
    head, hidden, targets, weights = make(torch.bfloat16, False)
    kept = gradients(token_logps(head, hidden, targets), weights, hidden, head.weight)
    again = gradients(token_logps(head, hidden, targets, kept_bytes=0), weights, hidden, head.weight)
    for one, other in zip(kept, again, strict=True):
        assert torch.equal(one, other)


def test_reduced_precision_stays_near_the_exact_gradient():
    head, hidden, targets, weights = make(torch.bfloat16, False)
    found = gradients(token_logps(head, hidden, targets), weights, hidden, head.weight)
    exact_head, exact_hidden = head.double(), hidden.detach().double().requires_grad_()
    logps = exact_head(exact_hidden).log_softmax(-1)[torch.arange(PLACES), targets]
    expected = gradients(logps, weights.double(), exact_hidden, exact_head.weight)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.double() - theirs).norm() < 2e-2 * theirs.norm()


@pytest.mark.parametrize("bias", [False, True])
def test_a_frozen_head_has_the_gradient_of_plain_autograd(bias):
    head, hidden, targets, weights = make(torch.float32, bias)
    head.requires_grad_(False)
    [ours] = gradients(token_logps(head, hidden, targets), weights, hidden)
    [theirs] = gradients(plain(head, hidden, targets), weights, hidden)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)

"""DPO against the published formula, written out in numpy; torchtune's arithmetic; finite differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bdpo_pipeline.objectives import PairBatch, bind_loss, dpo


def published(batch: PairBatch, beta: float, label_smoothing: float) -> np.ndarray:
    """-E[log sigma(beta log pi(yw)/ref(yw) - beta log pi(yl)/ref(yl))], with sigma as it is written, in fp64."""
    b = {name: getattr(batch, name).numpy() for name in batch.__dataclass_fields__}
    u = beta * (b["policy_chosen"] - b["reference_chosen"]) - beta * (
        b["policy_rejected"] - b["reference_rejected"]
    )
    return (1 - label_smoothing) * np.log1p(np.exp(-u)) + label_smoothing * np.log1p(np.exp(u))


@pytest.mark.parametrize(("beta", "label_smoothing"), [(0.1, 0.0), (0.5, 0.0), (0.1, 0.2)])
def test_value_is_the_published_formula(batch, beta, label_smoothing):
    pairs = batch()
    ours = dpo.dpo(pairs, beta=beta, label_smoothing=label_smoothing)
    np.testing.assert_allclose(ours.numpy(), published(pairs, beta, label_smoothing), rtol=1e-12)


def test_gradient_is_the_published_formula(batch):
    pairs = batch()
    chosen, rejected = pairs.policy_chosen.requires_grad_(), pairs.policy_rejected.requires_grad_()
    dpo.dpo(pairs, beta=0.3).sum().backward()
    # Rafailov et al., section 4: beta sigma(r_l - r_w) weighs grad log pi(y_l) - grad log pi(y_w).
    margin = (pairs.chosen_logratio - pairs.rejected_logratio).detach()
    weight = 0.3 / (1 + torch.exp(0.3 * margin))
    torch.testing.assert_close(chosen.grad, -weight)
    torch.testing.assert_close(rejected.grad, weight)


def test_known_margins():
    """With beta 0.1 and log-ratio differences of 0, 10, 20 the loss is -log sigma of 0, 1, 2."""
    zero = torch.zeros(3, dtype=torch.float64)
    pairs = PairBatch(torch.tensor([0.0, 10.0, 20.0], dtype=torch.float64), *[zero] * 7)
    expected = torch.tensor([np.log(2), np.log1p(np.exp(-1)), np.log1p(np.exp(-2))])
    torch.testing.assert_close(dpo.dpo(pairs, beta=0.1), expected)


def test_policy_equal_to_reference_costs_log_two(batch):
    pairs = batch()
    same = replace(pairs, policy_chosen=pairs.reference_chosen, policy_rejected=pairs.reference_rejected)
    torch.testing.assert_close(dpo.dpo(same), torch.full((6,), np.log(2), dtype=torch.float64))


@given(st.lists(st.floats(-1e4, 0), min_size=4, max_size=4), st.floats(0.001, 10))
def test_extreme_log_probs_give_finite_loss_and_gradient(values, beta):
    logps = [torch.tensor([value], dtype=torch.float32, requires_grad=True) for value in values]
    ones = torch.ones(1)
    loss = dpo.dpo(PairBatch(*logps, ones, ones, ones, ones), beta=beta)
    gradient = torch.autograd.grad(loss.sum(), logps[:2])
    assert torch.isfinite(loss).all()
    assert all(torch.isfinite(g).all() for g in gradient)
    # Raising the chosen response never raises the loss.
    assert gradient[0].item() <= 0 <= gradient[1].item()


def test_unknown_option_and_objective_are_named():
    with pytest.raises(ValueError, match="no option betta; its options are: beta, label_smoothing"):
        bind_loss("dpo", {"betta": 0.1})
    with pytest.raises(ValueError, match="no objective 'dppo'; there are: bdpo, dpo"):
        bind_loss("dppo", {})

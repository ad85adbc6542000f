"""fp32 masters of weights in reduced precision."""

import torch
from torch import nn

from bdpo_pipeline.engine.weights import TrainedWeights


def bf16_layer(value=1.0):
    layer = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    with torch.no_grad():
        layer.weight.fill_(value)
    return layer


def test_steps_smaller_than_a_bf16_number_add_up():
    layer = bf16_layer()
    weights = TrainedWeights(layer)
    optimiser = torch.optim.SGD(weights.parameters, lr=1e-3)
    x = torch.ones(1, 1, dtype=torch.bfloat16)
    for _ in range(16):
        weights.clear_gradients()
        layer(x).sum().backward()
        optimiser.step()
        weights.publish()
    # Each step alone is lost in bf16, which has no number between 0.99609 and 1.
    assert torch.tensor(1 - 1e-3).bfloat16() == 1
    assert abs(weights.masters["weight"].item() - (1 - 16e-3)) < 1e-6
    assert layer.weight.item() == float(torch.tensor(1 - 16e-3).bfloat16())


def test_gradients_of_micro_batches_add_up_in_fp32():
    layer = bf16_layer()
    weights = TrainedWeights(layer)
    for value in [256.0] + [1.0] * 8:
        layer(torch.full((1, 1), value, dtype=torch.bfloat16)).sum().backward()
    assert layer.weight.grad is None
    # In bf16, 256 + 1 is 256.
    assert weights.masters["weight"].grad.item() == 264


def test_fp32_weights_are_their_own_masters_and_frozen_ones_have_none():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False))
    weights = TrainedWeights(model)
    assert set(weights.masters) == {"0.weight", "0.bias"}
    assert weights.masters["0.weight"] is model[0].weight


def test_a_snapshot_brings_back_masters_and_what_is_used():
    layer = bf16_layer(1.0)
    weights = TrainedWeights(layer)
    with torch.no_grad():
        weights.masters["weight"].fill_(1.0001)
    snapshot = weights.snapshot()
    with torch.no_grad():
        weights.masters["weight"].fill_(3.0)
    weights.publish()
    assert layer.weight.item() == 3
    weights.restore(snapshot)
    assert weights.masters["weight"].item() == float(torch.tensor(1.0001))
    assert layer.weight.item() == 1


def test_clipping_is_by_the_norm_over_all_weights():
    model = nn.ModuleList([nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)])
    weights = TrainedWeights(model)
    for master, value in zip(weights.parameters, (3.0, 4.0), strict=True):
        master.grad = torch.full_like(master, value)
    assert weights.clip_gradients(1.0) == 5.0
    assert [round(float(p.grad), 4) for p in weights.parameters] == [0.6, 0.8]

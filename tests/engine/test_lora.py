"""LoRA layers in one function against PEFT's own."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from bdpo_pipeline.engine.lora import fuse_lora

PLACES = 37


class Layers(nn.Module):
    """Two linear layers, one with a bias, under names that PEFT finds."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.first = nn.Linear(24, 40, dtype=dtype)
        self.second = nn.Linear(40, 16, bias=False, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))


def make_policy(dtype: torch.dtype = torch.float32, **options: object) -> nn.Module:
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["first", "second"], **options)
    policy = get_peft_model(Layers(dtype), config)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:  # a fresh adapter changes nothing; this one does
            nn.init.normal_(parameter, std=0.3)
    return policy.train()


def run(policy: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)  # of dropout
    x = x.clone().requires_grad_()
    output = policy(x)
    (output.float() * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    gradients = {name: p.grad for name, p in policy.named_parameters() if p.requires_grad}
    return {"output": output.detach(), "x": x.grad, **gradients}


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_output_and_gradients_are_those_of_peft(dropout, mode):
    x = torch.randn(2, PLACES, 24, generator=torch.Generator().manual_seed(1))
    theirs = make_policy(lora_dropout=dropout)
    ours = copy.deepcopy(theirs)
    assert fuse_lora(ours) == 2
    for policy in (theirs, ours):
        policy.train(mode == "train")
    expected, found = run(theirs, x), run(ours, x)
    assert found.keys() == expected.keys()
    assert len(found) == 6
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-5)


def test_in_bf16_it_is_as_near_to_the_truth_as_peft_is():
    x = torch.randn(2, PLACES, 24, generator=torch.Generator().manual_seed(1)).bfloat16()
    theirs = make_policy(torch.bfloat16)
    truth, ours = copy.deepcopy(theirs).float(), copy.deepcopy(theirs)
    fuse_lora(ours)
    expected = run(truth, x.float())

    def error(policy):
        return {name: float((v.float() - expected[name]).norm()) for name, v in run(policy, x).items()}

    usual, fused = error(theirs), error(ours)
    for name in expected:
        assert fused[name] <= 2 * usual[name] + 1e-2 * float(expected[name].norm())
    weights = [p for p in ours.parameters() if p.requires_grad]
    assert all(p.grad.dtype == p.dtype == torch.float32 for p in weights)


def test_frozen_weights_get_no_gradient_and_the_first_layer_none_for_its_input():
    policy = make_policy()
    fuse_lora(policy)
    policy(torch.randn(3, 24)).sum().backward()
    assert [name for name, p in policy.named_parameters() if p.grad is not None] == [
        name for name, p in policy.named_parameters() if "lora_" in name
    ]


def test_what_is_not_plain_lora_is_left_to_peft():
    assert fuse_lora(make_policy(use_dora=True)) == 0
    assert fuse_lora(make_policy(lora_bias=True)) == 0
    both = make_policy()
    both.base_model.model.first.base_layer.weight.requires_grad_()
    assert fuse_lora(both) == 1


def test_its_gradient_cannot_be_differentiated_again_unnoticed():
    policy = make_policy()
    fuse_lora(policy)
    x = torch.randn(3, 24, requires_grad=True)
    [slope] = torch.autograd.grad(policy(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        slope.square().sum().backward()

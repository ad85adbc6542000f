"""What a pass takes, found without computing it, against pencil and paper and against other ways to hold a model."""

import pytest
import torch
from torch import nn

from bdpo_pipeline.engine.footprint import peak_bytes
from bdpo_pipeline.engine.layout import Row, build_batch
from bdpo_pipeline.engine.logps import response_logps
from bdpo_pipeline.engine.lora import fuse_lora
from bdpo_pipeline.models.adapters import add_lora
from bdpo_pipeline.models.loading import load_model

CPU = torch.device("cpu")
ROWS = [Row([1, 2, 3] * 20, [[4, 5] * 30, [6] * 50]) for _ in range(8)]


@pytest.fixture
def model(tiny_model):
    return load_model(tiny_model("llama")["path"], dtype="float32")


def with_lora(model):
    policy = add_lora(model, r=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0)
    fuse_lora(policy)
    return policy


def passes(model, rows):
    return lambda: response_logps(model, build_batch(rows))


def test_a_product_takes_its_factor_and_its_result():
    layer = nn.Linear(1000, 500, bias=False)
    assert peak_bytes(layer, lambda: layer(torch.zeros(64, 1000)), CPU, learning=False) == 64 * 1500 * 4


def test_what_is_gone_does_not_count():
    layer = nn.Linear(10, 10, bias=False)

    def run():
        for _ in range(5):
            torch.zeros(1000)
        return layer(torch.zeros(1, 10))

    assert peak_bytes(layer, run, CPU, learning=False) == 4000


def test_a_backward_pass_counts_what_it_keeps_but_no_gradient_of_weights():
    layers = nn.Sequential(*[nn.Linear(100, 100, bias=False) for _ in range(10)])
    kept = 11 * 7 * 100 * 4
    peak = peak_bytes(layers, lambda: layers(torch.zeros(7, 100)), CPU, learning=True)
    one_gradient = 100 * 100 * 4
    assert kept + one_gradient <= peak <= kept + 2 * one_gradient + 4 * 7 * 100 * 4


def test_the_model_is_left_as_it_was(model):
    policy = with_lora(model)
    before = {name: (value, value.detach().clone()) for name, value in policy.named_parameters()}
    modes = [module.training for module in policy.modules()]
    random_state = torch.get_rng_state()
    assert peak_bytes(policy, passes(policy, ROWS), CPU, learning=True) > 0
    for name, value in policy.named_parameters():
        assert value is before[name][0]
        assert torch.equal(value, before[name][1])
        assert value.grad is None
    assert [module.training for module in policy.modules()] == modes
    assert len(set(modes)) == 2
    assert torch.equal(torch.get_rng_state(), random_state)


def test_it_grows_with_the_rows_and_not_faster(model):
    policy = with_lora(model)
    one, eight = (peak_bytes(policy, passes(policy, ROWS[:n]), CPU, learning=True) for n in (1, 8))
    assert 5 * one < eight < 9 * one


def test_a_model_without_weights_takes_the_same(model):
    policy = with_lora(model)
    expected = peak_bytes(policy, passes(policy, ROWS), CPU, learning=True)
    policy.to("meta")
    assert peak_bytes(policy, passes(policy, ROWS), CPU, learning=True) == expected


def test_a_pass_without_gradients_takes_far_less(model):
    policy = with_lora(model)
    learning, scoring = (
        peak_bytes(policy, passes(policy, ROWS), CPU, learning=flag) for flag in (True, False)
    )
    assert scoring < learning / 2


def test_activation_checkpointing_takes_less(model):
    policy = with_lora(model)
    plain = peak_bytes(policy, passes(policy, ROWS), CPU, learning=True)
    policy.get_base_model().activation_checkpointing_enable()
    policy.enable_input_require_grads()
    assert peak_bytes(policy, passes(policy, ROWS), CPU, learning=True) < 0.8 * plain


def test_quantised_weights_are_unpacked_one_at_a_time_and_stay_packed(tmp_path):
    pytest.importorskip("bitsandbytes")
    from transformers import LlamaConfig, LlamaForCausalLM

    # As wide as a block of weights that share a scale.
    shape = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=300, **shape)).save_pretrained(tmp_path)
    packed, plain = (with_lora(load_model(tmp_path, dtype="float32", quantisation=q)) for q in ("nf4", None))
    before = [value.detach().clone() for value in packed.parameters()]
    taken = peak_bytes(packed, passes(packed, ROWS), CPU, learning=True)
    assert taken > 0.8 * peak_bytes(plain, passes(plain, ROWS), CPU, learning=True)
    assert all(torch.equal(a, b) for a, b in zip(before, packed.parameters(), strict=True))
    assert torch.isfinite(passes(packed, ROWS)()).all()

"""Products by oneDNN against torch's usual way, and when they are taken."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from bdpo_pipeline.engine import products
from bdpo_pipeline.models.loading import load_model

pytestmark = pytest.mark.skipif(
    products._multiply is None or not torch.backends.mkl.is_available(),
    reason="this build of torch has no choice",
)


@pytest.fixture
def by_onednn(monkeypatch):
    """Whatever processor the tests run on."""
    calls = []
    onednn = torch.ops.mkldnn._linear_pointwise

    def count(*arguments):
        calls.append(arguments)
        return onednn(*arguments)

    monkeypatch.setattr(products, "_is_faster", lambda: True)
    monkeypatch.setattr(products, "_multiply", count)
    return calls


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    inner=st.integers(1, 70),
    outer=st.integers(1, 70),
    has_bias=st.booleans(),
    turned=st.booleans(),
)
def test_products_are_those_of_torch(by_onednn, shape, inner, outer, has_bias, turned):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*shape, 2 * inner, generator=generator)[..., ::2]
    weight = torch.randn(outer, inner, generator=generator)
    weight = weight.T.contiguous().T if turned else weight
    bias = torch.randn(outer, generator=generator) if has_bias else None
    before = len(by_onednn)
    with torch.inference_mode():
        found = products.linear(x, weight, bias)
    assert len(by_onednn) == before + 1
    torch.testing.assert_close(found, torch.nn.functional.linear(x, weight, bias), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("has_gradient", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [0, 3])
def test_only_fp32_without_a_gradient_is_multiplied_so(by_onednn, has_gradient, dtype, rows):
    x, weight = torch.randn(rows, 4, dtype=dtype), torch.randn(5, 4, dtype=dtype, requires_grad=True)
    with torch.set_grad_enabled(has_gradient):
        found = products.linear(x, weight)
    assert (found.grad_fn is not None) == has_gradient
    assert bool(by_onednn) == (rows > 0 and dtype == torch.float32 and not has_gradient)


@pytest.mark.parametrize(("maker", "is_faster"), [("AuthenticAMD", True), ("GenuineIntel", False)])
def test_the_maker_of_the_processor_decides(monkeypatch, tmp_path, maker, is_faster):
    facts = tmp_path / "cpuinfo"
    facts.write_text(f"processor\t: 0\nvendor_id\t: {maker}\n")
    monkeypatch.setattr(products, "_CPU_FACTS", facts)
    assert products._is_faster.__wrapped__() == is_faster


def test_a_model_s_linear_layers_multiply_so(by_onednn, tiny_model):
    path = tiny_model("llama")["path"]
    model, plain = load_model(path, dtype="float32"), load_model(path, dtype="float32")
    products.use_products(model)
    ids = torch.arange(12)[None]
    with torch.inference_mode():
        found, expected = model(input_ids=ids).logits, plain(input_ids=ids).logits
    assert len(by_onednn) == sum(type(module) is torch.nn.Linear for module in model.modules())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_head_at_last_places_makes_no_product_of_batches(tiny_model):
    model = load_model(tiny_model("llama")["path"], dtype="bfloat16")
    products.use_products(model)
    with torch.inference_mode():
        hidden = model.model(input_ids=torch.arange(12).expand(3, 12)).last_hidden_state
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            model.lm_head(hidden[:, -1:])
    ran = {event.key for event in profiled.key_averages()}
    assert "aten::mm" in ran
    assert "aten::bmm" not in ran

"""Every way of attending over a tree of segments, against plain attention with a mask written down place by place."""

import logging
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import flex_attention as torch_flex
from torch.nn.functional import scaled_dot_product_attention

from bdpo_pipeline.engine import attention_flex
from bdpo_pipeline.engine.attention import (
    WAYS,
    UnsupportedAttentionError,
    attend,
    attention_for,
    use_segments,
)
from bdpo_pipeline.engine.attention_dense import attend_densely
from bdpo_pipeline.engine.attention_flex import attend_by_flex, flex_fault
from bdpo_pipeline.engine.layout import Row, SegmentTree, build_batch

WIDTH = 16
CPU = torch.device("cpu")
TOLERANCES = [(torch.float32, 1e-6), (torch.float64, 1e-12), (torch.bfloat16, 3e-2)]


def visibility(tree: SegmentTree) -> torch.Tensor:
    """Which place sees which, over the whole sequence: what is on its segment's path and not behind it."""
    number = [i for i, segment in enumerate(tree.segments) for _ in range(segment.length)]
    paths = [set(segment.path) for segment in tree.segments]
    rows = [
        [k <= q and number[k] in paths[number[q]] for k in range(len(number))] for q in range(len(number))
    ]
    return torch.tensor(rows)


@st.composite
def trees(draw) -> SegmentTree:
    """Trees around the size of flex attention's blocks, with and without a shared beginning."""
    beginning = draw(st.sampled_from([0, 1, 127, 128, 150]))
    length = st.integers(1, 90)
    rows = []
    for i in range(draw(st.integers(1, 4))):
        responses = [[9] * draw(length) for _ in range(draw(st.integers(1, 3)))]
        rows.append(Row([8] * beginning + [i] * draw(length), responses))
    return build_batch(rows, share_beginnings=draw(st.booleans())).segments


def tree_of(rows: int = 3, *, shared: bool = True) -> SegmentTree:
    contexts = [[7] * 130 + [i] * (5 + 40 * i) for i in range(rows)]
    return build_batch([Row(c, [[1] * 70, [2] * 3]) for c in contexts], share_beginnings=shared).segments


@given(trees())
@settings(max_examples=25, deadline=None)
def test_masks_of_any_tree_are_what_the_paths_say(tree):
    expected = visibility(tree)
    assert torch.equal(tree.mask, expected)
    mask, places = tree.block_mask, len(expected)
    filled = torch.eye(mask.shape[-1], dtype=torch.bool)  # a place added to fill up a block sees itself
    filled[:places, :places] = expected
    assert torch.equal(torch_flex.create_mask(mask.mask_mod, 1, 1, *filled.shape, CPU)[0, 0], filled)
    plain = torch_flex.create_block_mask(lambda _b, _h, q, k: filled[q, k], 1, 1, *filled.shape, CPU)
    for kind in ("kv", "full_kv", "q", "full_q"):
        assert listed(mask, kind) == listed(plain, kind)


def listed(mask, kind) -> list[set[int]]:
    numbers = getattr(mask, f"{kind}_num_blocks")[0, 0].tolist()
    indices = getattr(mask, f"{kind}_indices")[0, 0].tolist()
    return [set(row[:number]) for row, number in zip(indices, numbers, strict=True)]


def test_blocks_that_no_place_sees_are_left_out():
    """Responses of other contexts: the reason for flex attention."""
    rows = [Row([i] * 128, [[9] * 129]) for i in range(4)]
    mask = build_batch(rows, share_beginnings=False).segments.block_mask
    # A context's block and its response's; of eight times eight, the response sees the context wholly, each itself in part.
    assert (int(mask.kv_num_blocks.sum()), int(mask.full_kv_num_blocks.sum())) == (8, 4)


@pytest.fixture
def plain_flex(monkeypatch):
    """Flex attention without the compiler, also backwards: torch refuses that on a CPU, though its plain form has a gradient."""
    monkeypatch.setattr(torch_flex, "_validate_device", lambda *_: None)
    monkeypatch.setattr(torch_flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(attention_flex, "_compiled", lambda: torch_flex.flex_attention)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("heads", "key_heads"), [(6, 2), (4, 4), (3, 1)])
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("name", WAYS)
@pytest.mark.usefixtures("plain_flex")
def test_output_and_gradients_are_those_of_masked_attention(name, dtype, tolerance, heads, key_heads, shared):
    tree = tree_of(shared=shared)
    places = len(tree.reach)
    generator = torch.Generator().manual_seed(0)
    # Places before heads in memory, as the model library's projections leave them.
    inputs = [
        torch.randn(1, places, number, WIDTH, generator=generator).to(dtype).transpose(1, 2)
        for number in (heads, key_heads, key_heads)
    ]
    slope = torch.randn(1, places, heads, WIDTH, generator=generator)

    def results(compute, inputs):
        leaves = [x.clone().requires_grad_() for x in inputs]
        output = compute(*leaves)
        return [output.detach(), *torch.autograd.grad((output.double() * slope).sum(), leaves)]

    def ours(q, k, v):
        return attend(torch.nn.Identity(), q, k, v, None, way=WAYS[name], segments=tree, scaling=0.3)[0]

    def expected(q, k, v):
        output = scaled_dot_product_attention(q, k, v, attn_mask=visibility(tree), scale=0.3, enable_gqa=True)
        return output.transpose(1, 2)

    for found, wanted in zip(
        results(ours, inputs), results(expected, [x.double() for x in inputs]), strict=True
    ):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), wanted, atol=tolerance * float(wanted.abs().max()), rtol=0)


def test_one_flex_kernel_serves_batches_of_all_sizes(monkeypatch):
    """After the two sizes that `flex_fault` tries: compiling again and again would cost more than it saves."""
    compiled = []

    def count(graph, _):
        compiled.append(graph)
        return graph.forward

    kernel = torch.compile(torch_flex.flex_attention, fullgraph=True, backend=count)
    monkeypatch.setattr(attention_flex, "_compiled", lambda: kernel)

    def run(tree):
        q, k, v = (torch.randn(1, len(tree.reach), n, WIDTH).transpose(1, 2) for n in (4, 2, 2))
        found = attend_by_flex(q, k, v, tree, 0.25)
        torch.testing.assert_close(found, attend_densely(q, k, v, tree, 0.25))

    for rows in attention_flex.TRIAL_ROWS:
        run(attention_flex.trial_tree(rows))
    assert len(compiled) == 2
    # Fewer places than a block, a whole number of blocks, one more, many.
    one = [build_batch([Row([1] * length, [[2]])]).segments for length in (1, 100, 128, 256, 257)]
    for tree in [*one, tree_of(2), tree_of(7), tree_of(4, shared=False)]:
        run(tree)
    assert len(compiled) == 2


@pytest.mark.usefixtures("plain_flex")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_flex_attention_is_tried_before_it_is_chosen(dtype):
    shape = {"heads": 4, "key_heads": 2, "width": WIDTH}
    assert flex_fault(CPU, dtype, **shape) is None
    with torch.inference_mode():
        assert flex_fault(CPU, dtype, **shape) is None

    def wrong(q, k, v, tree, scaling):
        return attend_by_flex(q, k, v, tree, scaling * 1.5)

    assert "its results are off by" in flex_fault(CPU, dtype, **shape, attend=wrong)
    assert "off by inf" in flex_fault(CPU, dtype, **shape, attend=lambda *given: wrong(*given) * torch.nan)
    with FakeTensorMode():  # the trial is a real one while a budget is found out
        assert "its results are off by" in flex_fault(CPU, dtype, **shape, attend=wrong)


def test_flex_attention_without_content_takes_memory_by_the_place(tiny_model, monkeypatch):
    """As where a budget is found out: there is no compiler in it, and nothing that grows with the square of the places."""
    from bdpo_pipeline.engine.footprint import peak_bytes
    from bdpo_pipeline.engine.logps import response_logps
    from bdpo_pipeline.models.loading import load_model

    model = load_model(tiny_model("llama")["path"], dtype="float32").requires_grad_(True)
    peaks = {}
    for way in ("segments_flex", "segments_dense"):
        monkeypatch.setattr("bdpo_pipeline.engine.attention.attention_for", lambda *_, way=way, **__: way)
        for rows in (2, 4):
            batch = [Row([i] * 500, [[1] * 300, [2] * 225]) for i in range(rows)]
            run = partial(response_logps, model, build_batch(batch))
            peaks[way, rows] = peak_bytes(model, run, CPU, learning=True)
    assert peaks["segments_flex", 4] == pytest.approx(2 * peaks["segments_flex", 2], rel=0.1)
    assert peaks["segments_dense", 4] > 2.5 * peaks["segments_dense", 2]


def test_what_keeps_flex_attention_from_running_is_said(caplog):
    # Compiled or not, torch has no gradient of it on a CPU.
    fault = flex_fault(CPU, torch.float32, heads=4, key_heads=2, width=WIDTH)
    assert "FlexAttention does not support backward on CPU" in fault
    with caplog.at_level(logging.WARNING):
        # A device that this torch was not built for, so that nothing runs there.
        chosen = attention_for(torch.device("xpu"), torch.float32, heads=4, key_heads=2, width=WIDTH)
    assert chosen == "segments_dense"
    assert "flex attention does not run for 4 heads over 2 of width 16 in torch.float32 on xpu" in caplog.text
    assert attention_for(CPU, torch.float32, heads=4, key_heads=2, width=WIDTH) == "segments_loop"


@pytest.mark.usefixtures("plain_flex")
@pytest.mark.parametrize("name", WAYS)
def test_a_model_gives_the_same_log_probs_in_every_way(tiny_model, monkeypatch, name):
    from bdpo_pipeline.engine.logps import response_logps
    from bdpo_pipeline.models.loading import load_model

    asked = []

    def chosen(*device_and_dtype, **shape):
        asked.append((*device_and_dtype, shape))
        return name

    batch = build_batch([Row([7] * 30 + [i], [[1, 2, 3], [4] * (20 + i)]) for i in range(5)])
    expected = response_logps(load_model(tiny_model("qwen2")["path"], dtype="float32"), batch)
    monkeypatch.setattr("bdpo_pipeline.engine.attention.attention_for", chosen)
    model = load_model(tiny_model("qwen2")["path"], dtype="float32")
    model.config.head_dim = None
    torch.testing.assert_close(response_logps(model, batch), expected, atol=1e-4, rtol=1e-5)
    assert model.config._attn_implementation == name
    assert asked == [(CPU, torch.float32, {"heads": 4, "key_heads": 2, "width": 8})]


def test_a_model_that_moves_attends_as_its_device_wants(tiny_model, monkeypatch):
    """As where weights are checked on the CPU and then sharded over GPUs."""
    from bdpo_pipeline.models.loading import load_model

    ways = {"cpu": "segments_loop", "meta": "segments_dense"}
    monkeypatch.setattr(
        "bdpo_pipeline.engine.attention.attention_for", lambda device, *_, **__: ways[device.type]
    )
    model = load_model(tiny_model("llama")["path"], dtype="float32")
    for device, way in ways.items():
        use_segments(model.to(device))
        assert model.config._attn_implementation == way


def test_a_gradient_to_be_differentiated_again_takes_the_loop():
    tree = tree_of(2)
    tensors = [torch.randn(1, 2, len(tree.reach), WIDTH) for _ in range(3)]

    def never(*_):
        raise AssertionError

    inputs = (torch.nn.Identity(), *tensors, None)
    output, _ = attend(*inputs, way=never, segments=tree, scaling=0.3, twice_differentiable=True)
    torch.testing.assert_close(output, attend(*inputs, segments=tree, scaling=0.3)[0])


@pytest.mark.parametrize("asked", [{"softcap": 50.0}, {"dropout": 0.1}, {"s_aux": torch.zeros(6)}])
def test_attention_that_does_more_is_refused(asked):
    """Rather than computed without it: on a few tokens the difference can be too small to be seen."""
    tensors = [torch.zeros(1, heads, 3, WIDTH) for heads in (6, 2, 2)]
    plain = partial(attend, torch.nn.Identity(), *tensors, None, scaling=1.0)
    segments = build_batch([Row([1, 2], [[3, 4]])]).segments
    plain(segments=segments)
    with pytest.raises(UnsupportedAttentionError, match="this model attends with"):
        plain(segments=segments, **asked)

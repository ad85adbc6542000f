"""Attention by segments against plain attention with a mask over everything."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from bdpo_pipeline.engine.attention import UnsupportedAttentionError, attend
from bdpo_pipeline.engine.layout import Row, build_batch

HEADS, KEY_HEADS, WIDTH = 6, 2, 8
ROWS = [Row([7, 7, 1, 2], [[3, 4, 5], [5]]), Row([7, 7, 6], [[3, 4], [1, 2, 3, 4]])]


def whole_mask(segments) -> torch.Tensor:
    """Which place sees which, over the whole sequence."""
    starts = torch.tensor([0, *(segment.length for segment in segments)]).cumsum(0)
    mask = torch.zeros(int(starts[-1]), int(starts[-1]), dtype=torch.bool)
    for i, segment in enumerate(segments):
        for above in segment.path[:-1]:
            mask[starts[i] : starts[i + 1], starts[above] : starts[above + 1]] = True
        mask[starts[i] : starts[i + 1], starts[i] : starts[i + 1]] = torch.ones(
            segment.length, segment.length, dtype=torch.bool
        ).tril()
    return mask


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12), (torch.bfloat16, 3e-2)]
)
def test_output_and_gradients_are_those_of_masked_attention(dtype, tolerance):
    segments = build_batch(ROWS).segments
    places = sum(segment.length for segment in segments)
    generator = torch.Generator().manual_seed(0)

    def draw(heads):
        return torch.randn(1, heads, places, WIDTH, generator=generator).to(dtype)

    inputs = (draw(HEADS), draw(KEY_HEADS), draw(KEY_HEADS))
    slope = torch.randn(1, places, HEADS, WIDTH, generator=generator)
    results = []
    for kind in ("segments", "mask"):
        q, k, v = (x.clone().requires_grad_() for x in inputs)
        if kind == "segments":
            output, _ = attend(torch.nn.Identity(), q, k, v, None, segments=segments, scaling=0.3)
        else:
            wide = [x.double() for x in (q, k, v)]
            output = scaled_dot_product_attention(
                *wide, attn_mask=whole_mask(segments), scale=0.3, enable_gqa=True
            ).transpose(1, 2)
        (output.double() * slope).sum().backward()
        results.append([output.detach().double(), *(x.grad.double() for x in (q, k, v))])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=tolerance * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("asked", [{"softcap": 50.0}, {"dropout": 0.1}, {"s_aux": torch.zeros(HEADS)}])
def test_attention_that_does_more_is_refused(asked):
    """Rather than computed without it: on a few tokens the difference can be too small to be seen."""
    tensors = [torch.zeros(1, heads, 3, WIDTH) for heads in (HEADS, KEY_HEADS, KEY_HEADS)]
    segments = build_batch([Row([1, 2], [[3, 4]])]).segments
    attend(torch.nn.Identity(), *tensors, None, segments=segments, scaling=1.0)
    with pytest.raises(UnsupportedAttentionError, match="this model attends with"):
        attend(torch.nn.Identity(), *tensors, None, segments=segments, scaling=1.0, **asked)

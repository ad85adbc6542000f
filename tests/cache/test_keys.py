"""Keys of log-probs: what they depend on and what not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdpo_pipeline.cache.keys import response_key

ids = st.lists(st.integers(0, 2**31 - 1), max_size=8)


@given(ids, ids, ids, ids)
def test_keys_are_equal_only_for_equal_content(context, response, other_context, other_response):
    one = response_key("w", "float32", context, response)
    other = response_key("w", "float32", other_context, other_response)
    assert (one == other) == ((context, response) == (other_context, other_response))


@pytest.mark.parametrize("change", [("v", "float32"), ("w", "bfloat16"), ("w", "nf4/float32")])
def test_keys_depend_on_weights_and_precision(change):
    assert response_key("w", "float32", [1], [2, 3]) != response_key(*change, [1], [2, 3])


def test_moving_the_boundary_changes_the_key():
    assert response_key("w", "f", [1, 2], [3]) != response_key("w", "f", [1], [2, 3])

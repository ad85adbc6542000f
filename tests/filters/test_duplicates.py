from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bdpo_pipeline.filters.duplicates import find_contradictions, find_first_copy

KEYS = st.lists(st.integers(0, 5), max_size=20)


@given(keys=KEYS, data=st.data())
def test_the_copy_of_lowest_priority_number_is_named(keys, data):
    priority = data.draw(st.permutations(range(len(keys))))
    found = find_first_copy(np.array(keys, np.uint64), np.array(priority, np.int64))
    expected = [
        min((i for i in range(len(keys)) if keys[i] == key), key=lambda i: priority[i]) for key in keys
    ]
    assert found.tolist() == expected


@given(pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20))
def test_contradicted_where_both_orders_stand(pairs):
    pair_keys = np.array([10 * a + b for a, b in pairs], np.uint64)
    unordered = np.array([10 * min(pair) + max(pair) for pair in pairs], np.uint64)
    there = Counter(pairs)
    expected = [a != b and (b, a) in there for a, b in pairs]
    assert find_contradictions(pair_keys, unordered).tolist() == expected

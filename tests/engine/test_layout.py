"""Rows as a tree of segments: nothing twice, nothing padded, positions as if each response stood alone."""

from hypothesis import given
from hypothesis import strategies as st

from bdpo_pipeline.engine.layout import Row, build_batch, plan_batches

ids = st.lists(st.integers(0, 9), min_size=1, max_size=12)
rows = st.lists(st.builds(Row, ids, st.lists(ids, min_size=1, max_size=3)), min_size=1, max_size=6)


def read(batch, source):
    """The tokens that the place sees, in order of their positions."""
    start = 0
    spans = []
    for segment in batch.segments.segments:
        spans.append(range(start, start + segment.length))
        start += segment.length
    [number] = [i for i, span in enumerate(spans) if source in span]
    seen = [place for i in batch.segments.segments[number].path for place in spans[i]]
    visible = batch.segments.masks[number][source - spans[number][0]]
    places = [place for place, shown in zip(seen, visible.tolist(), strict=True) if shown]
    assert batch.position_ids[0, places].tolist() == list(range(len(places)))
    assert batch.segments.mask[source].nonzero().flatten().tolist() == places
    return batch.input_ids[0, places].tolist()


@given(rows)
def test_each_token_is_predicted_from_its_context_and_what_stands_before_it(rows):
    batch = build_batch(rows)
    expected = [
        (row.context + response[:i], token)
        for row in rows
        for response in row.responses
        for i, token in enumerate(response)
    ]
    found = [
        (read(batch, source), target)
        for source, target in zip(batch.sources.tolist(), batch.targets.tolist(), strict=True)
    ]
    assert found == expected
    assert batch.lengths == [len(response) for row in rows for response in row.responses]
    assert sum(segment.length for segment in batch.segments.segments) == batch.input_ids.shape[1]


def test_what_all_contexts_begin_with_is_computed_once():
    system = [7] * 10
    rows = [Row([*system, 1, 2], [[3, 4], [5]]), Row([*system, 6], [[3, 4, 5]])]
    # The beginning, then rows of 2 + 1 + 0 and of 1 + 2 places.
    assert build_batch(rows).input_ids.shape[1] == 10 + 3 + 3
    assert build_batch(rows).row_places == [3, 3]
    assert build_batch(rows, share_beginnings=False).row_places == [13, 13]
    assert build_batch(rows[:1]).row_places == [13]


def test_one_context_for_many_rows_leaves_each_a_token_of_its_own():
    batch = build_batch([Row([7, 8, 9], [[1, 2]]), Row([7, 8, 9], [[3]])])
    assert batch.input_ids.tolist() == [[7, 8, 9, 1, 9]]


@given(rows, st.integers(1, 60))
def test_batches_hold_every_row_once_within_the_bound(rows, bound):
    batches = plan_batches(rows, bound)
    assert sorted(i for batch in batches for i in batch) == list(range(len(rows)))
    sizes = [sum(rows[i].tokens for i in batch) for batch in batches]
    assert all(size <= bound or len(batch) == 1 for size, batch in zip(sizes, batches, strict=True))
    # No two batches would fit into one, and the longest row comes first: what does not fit in memory shows at once.
    assert all(a + b > bound for n, a in enumerate(sizes) for b in sizes[:n])
    assert rows[batches[0][0]].tokens == max(row.tokens for row in rows)

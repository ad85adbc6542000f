import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bdpo_pipeline.filters.sampling import (
    SAFE_QUERY,
    UNKNOWN_QUERY,
    UNSAFE_QUERY,
    balance,
    classify_queries,
    count_before,
    subsample,
)

CLASSES = st.lists(st.sampled_from([SAFE_QUERY, UNSAFE_QUERY, UNKNOWN_QUERY]), max_size=40)
SHARES = st.one_of(st.none(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0]))


def arrays(classes, ranks):
    return np.array(classes, np.int8), np.array(ranks, np.uint64)


def test_query_is_unsafe_where_a_response_is_labelled_unsafe():
    labels = [(1, 1), (1, 0), (0, 1), (0, 0), (-1, 0), (-1, 1), (-1, -1)]
    chosen, rejected = np.array(labels, np.int8).T
    expected = [SAFE_QUERY] + [UNSAFE_QUERY] * 4 + [UNKNOWN_QUERY] * 2
    assert classify_queries(chosen, rejected).tolist() == expected


@given(groups=st.lists(st.integers(0, 4), max_size=30), data=st.data())
def test_count_before_counts_lower_ranks_of_the_group(groups, data):
    ranks = data.draw(st.permutations(range(len(groups))))
    expected = [sum(g == group and r < rank for g, r in zip(groups, ranks, strict=True))
                for group, rank in zip(groups, ranks, strict=True)]  # fmt: skip
    assert count_before(np.array(groups, np.uint64), np.array(ranks, np.uint64)).tolist() == expected


@given(classes=CLASSES, share=SHARES, data=st.data())
def test_balance_reaches_the_share_and_keeps_all_it_can(classes, share, data):
    classes, ranks = arrays(classes, data.draw(st.permutations(range(len(classes)))))
    kept = balance(classes, ranks, share)
    assert kept[classes == UNKNOWN_QUERY].all()
    safe, unsafe = (int((kept & (classes == c)).sum()) for c in (SAFE_QUERY, UNSAFE_QUERY))
    if share is None:
        assert kept.all()
        return
    assert abs(unsafe - share * (safe + unsafe)) < 1
    assert kept[classes == SAFE_QUERY].all() or kept[classes == UNSAFE_QUERY].all()
    for one in (SAFE_QUERY, UNSAFE_QUERY):
        inside, outside = ranks[kept & (classes == one)], ranks[~kept & (classes == one)]
        assert not len(outside) or not len(inside) or inside.max() < outside.min()


@pytest.mark.parametrize(
    ("safe", "unsafe", "share", "kept"),
    [(500, 112, 0.7, (48, 112)), (48, 500, 0.7, (48, 112)), (10, 90, 0.9, (10, 90))],
)
def test_balance_does_not_lose_a_pair_to_rounding(safe, unsafe, share, kept):
    classes, ranks = arrays([SAFE_QUERY] * safe + [UNSAFE_QUERY] * unsafe, range(safe + unsafe))
    stays = balance(classes, ranks, share)
    assert (stays[:safe].sum(), stays[safe:].sum()) == kept


@given(classes=CLASSES, most=st.one_of(st.none(), st.integers(1, 50)), data=st.data())
def test_subsample_keeps_the_number_and_the_proportions(classes, most, data):
    classes, ranks = arrays(classes, data.draw(st.permutations(range(len(classes)))))
    kept = subsample(classes, ranks, most, None)
    number = len(classes) if most is None else min(most, len(classes))
    assert kept.sum() == number
    for one in range(3):
        assert (
            abs((kept & (classes == one)).sum() - number * (classes == one).mean() if len(classes) else 0)
            < 1.5
        )


@settings(max_examples=400)
@given(
    classes=st.lists(st.sampled_from([SAFE_QUERY, UNSAFE_QUERY, UNKNOWN_QUERY]), min_size=2, max_size=40),
    most=st.integers(1, 30),
    share=st.sampled_from([None, 0.5]),
    data=st.data(),
)
def test_one_more_pair_changes_at_most_one_place(classes, most, share, data):
    """What is in before and after differs by at most one pair that comes and one that goes."""
    assume(len(classes) > most)
    classes, ranks = arrays(classes, data.draw(st.permutations(range(len(classes)))))
    if share is not None:
        assume(min((classes == SAFE_QUERY).sum(), (classes == UNSAFE_QUERY).sum()) > most)
        assume(not (classes == UNKNOWN_QUERY).any())
    with_it = set(ranks[subsample(classes, ranks, most, share)].tolist())
    without = set(ranks[1:][subsample(classes[1:], ranks[1:], most, share)].tolist())
    assert len(with_it - without) <= 1
    assert len(without - with_it) <= 1

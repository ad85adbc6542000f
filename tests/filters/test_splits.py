import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bdpo_pipeline.filters.hashing import mix, to_unit
from bdpo_pipeline.filters.parameters import SplitShares
from bdpo_pipeline.filters.splits import DECLARED, HELDOUT, SPLIT_NAMES, TRAIN, VALIDATION, assign_splits

SHARES = SplitShares(validation_share=0.2, heldout_share=0.3)
ROWS = st.lists(st.tuples(st.integers(0, 30), st.sampled_from(list(DECLARED))), min_size=1, max_size=60)


def assign(rows, shares=SHARES, seed=3):
    keys = np.array([key for key, _ in rows], np.uint64)
    return assign_splits(keys, np.array([DECLARED[declared] for _, declared in rows], np.int8), shares, seed)


@given(rows=ROWS)
def test_a_prompt_stands_in_one_split_and_declarations_hold(rows):
    split = assign(rows)
    for key in {key for key, _ in rows}:
        declared = {declaration for row_key, declaration in rows if row_key == key}
        splits = {int(split[i]) for i, (row_key, _) in enumerate(rows) if row_key == key}
        assert len(splits) == 1
        if "heldout" in declared:
            assert splits == {HELDOUT}
        elif "train" in declared:
            assert splits <= {TRAIN, VALIDATION}


@given(rows=ROWS, more=ROWS)
def test_more_rows_never_move_another_prompt(rows, more):
    before, after = assign(rows), assign(rows + more)[: len(rows)]
    added = {key for key, _ in more}
    assert all(b == a for (key, _), b, a in zip(rows, before, after, strict=True) if key not in added)


@given(rows=ROWS, data=st.data())
def test_order_of_rows_does_not_matter(rows, data):
    order = data.draw(st.permutations(range(len(rows))))
    assert assign([rows[i] for i in order]).tolist() == assign(rows)[list(order)].tolist()


def test_shares_are_met_and_seeds_differ():
    rows = [(key, None) for key in range(20_000)]
    split = assign(rows)
    shares = np.bincount(split, minlength=3) / len(rows)
    assert np.allclose(shares[[HELDOUT, VALIDATION, TRAIN]], [0.3, 0.2, 0.5], atol=0.015)
    assert 0.3 < (assign(rows, seed=4) == split).mean() < 0.5
    assert SPLIT_NAMES[HELDOUT] == "heldout"


@given(keys=st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=50), seed=st.integers(0, 2**31))
def test_mixing_is_one_to_one(keys, seed):
    mixed = mix(np.array(keys, np.uint64), seed)
    assert len(set(mixed.tolist())) == len(keys)
    unit = to_unit(np.array(keys, np.uint64), seed)
    assert ((unit >= 0) & (unit < 1)).all()


def test_mixing_is_splitmix64():
    """Oracle: the first outputs of Java's SplittableRandom / the reference splitmix64.c from state 0."""
    first, second, third = (int(mix(np.array([0], np.uint64), seed)[0]) for seed in range(3))
    assert (first, second, third) == (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F)

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdpo_pipeline.filters.near_duplicates import PERMUTATIONS, find_better_neighbour, sign

RANDOM = np.random.default_rng(0)


def word_sets(similarity: float, couples: int) -> tuple[list[list[str]], list[list[str]]]:
    """Couples of sets of 200 words each with that Jaccard similarity."""
    shared = round(200 * 2 * similarity / (1 + similarity))
    first, second = [], []
    for couple in range(couples):
        words = [f"{couple}-{i}" for i in range(400 - shared)]
        first.append(words[:200])
        second.append(words[:shared] + words[200:])
    return first, second


@pytest.mark.parametrize("similarity", [0.2, 0.5, 0.8, 0.95])
def test_signatures_estimate_the_exact_jaccard_similarity(similarity):
    """Oracle: MinHash is unbiased with variance s (1 - s) / PERMUTATIONS."""
    first, second = word_sets(similarity, couples=400)
    estimates = (sign(first, seed=1) == sign(second, seed=1)).mean(axis=1)
    deviation = np.sqrt(similarity * (1 - similarity) / PERMUTATIONS)
    assert abs(estimates.mean() - similarity) < 5 * deviation / np.sqrt(400)
    assert estimates.std() < 1.3 * deviation


@pytest.mark.parametrize(
    ("similarity", "found"), [(0.97, (0.995, 1)), (0.9, (0.95, 1)), (0.6, (0, 0.03)), (0.1, (0, 0))]
)
def test_planted_couples_are_found_at_the_threshold(similarity, found):
    first, second = word_sets(similarity, couples=500)
    signatures = np.concatenate([sign(first, 1), sign(second, 1)])
    better = find_better_neighbour(signatures, np.arange(1000), np.arange(1000), threshold=0.8)
    assert (better[:500] == -1).all()
    assert found[0] <= (better[500:] == np.arange(500)).mean() <= found[1]


def brute_force(signatures, level, threshold):
    """The definition: drop what has a better near duplicate, until nothing more is dropped."""
    kept = set(range(len(level)))
    while True:
        dropped = {
            i
            for i in kept
            for j in kept
            if level[j] < level[i] and (signatures[i] == signatures[j]).mean() >= threshold
        }
        if not dropped:
            return kept
        kept -= dropped


def families(sizes: list[int], seed: int) -> np.ndarray:
    """Signatures in families: copies of one signature with a few places changed."""
    random = np.random.default_rng(seed)
    rows = []
    for size in sizes:
        root = random.integers(0, 2**16, PERMUTATIONS, dtype=np.uint16)
        for _ in range(size):
            row = root.copy()
            changed = random.choice(PERMUTATIONS, random.integers(0, 14), replace=False)
            row[changed] = random.integers(0, 2**16, len(changed), dtype=np.uint16)
            rows.append(row)
    return np.array(rows, dtype=np.uint16).reshape(-1, PERMUTATIONS)


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 5), max_size=5), seed=st.integers(0, 1000))
def test_agrees_with_comparing_all_couples(sizes, seed):
    signatures = families(sizes, seed)
    level = np.random.default_rng(seed).permutation(len(signatures)).astype(np.int64)
    better = find_better_neighbour(signatures, np.arange(len(level)), level, 0.7)
    assert set(np.flatnonzero(better < 0).tolist()) == brute_force(signatures, level, 0.7)
    assert (better[better[better >= 0]] == -1).all()


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 30), max_size=6), seed=st.integers(0, 1000))
def test_order_of_rows_does_not_matter_and_twice_is_once(sizes, seed):
    signatures = families(sizes, seed)
    level = np.arange(len(signatures))
    order = np.random.default_rng(seed).permutation(len(signatures))
    kept = np.flatnonzero(find_better_neighbour(signatures, level, level, 0.8) < 0)
    shuffled = np.flatnonzero(find_better_neighbour(signatures[order], level, level[order], 0.8) < 0)
    assert sorted(order[shuffled].tolist()) == kept.tolist()
    assert (find_better_neighbour(signatures, kept, level[kept], 0.8) == -1).all()


def test_rows_of_one_level_do_not_drop_each_other():
    signatures = np.repeat(families([1], 0), 4, axis=0)
    better = find_better_neighbour(signatures, np.arange(4), np.array([1, 1, 0, 0]), 0.8)
    assert (better[2:] == -1).all()
    assert set(better[:2].tolist()) <= {2, 3}


def test_a_large_bucket_takes_linear_time():
    """20,000 copies: comparing all couples would be 200 million."""
    import time

    signatures = np.repeat(families([1], 0), 20_000, axis=0)
    start = time.perf_counter()
    better = find_better_neighbour(signatures, np.arange(20_000), np.arange(20_000), 0.8)
    assert time.perf_counter() - start < 20
    assert (better[1:] == 0).all()

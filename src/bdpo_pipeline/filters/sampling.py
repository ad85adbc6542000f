"""Cutting a split down: pairs for a prompt, share of unsafe queries, number of pairs.

Every choice goes by a pair's own rank, a hash of seed and content, so one more pair changes at most one place.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SAFE_QUERY, UNSAFE_QUERY, UNKNOWN_QUERY = 0, 1, 2


def classify_queries(
    chosen_is_safe: "NDArray[np.int8]", rejected_is_safe: "NDArray[np.int8]"
) -> "NDArray[np.int8]":
    """Return the class of each pair's query: unsafe where a response is labelled unsafe, safe where both are labelled safe.

    Args:
        chosen_is_safe: 1 safe, 0 unsafe, -1 not labelled; shape (n,).
        rejected_is_safe: the same for the rejected response.
    """
    import numpy as np

    unsafe = (chosen_is_safe == 0) | (rejected_is_safe == 0)
    safe = (chosen_is_safe == 1) & (rejected_is_safe == 1)
    return np.select([unsafe, safe], [UNSAFE_QUERY, SAFE_QUERY], UNKNOWN_QUERY).astype(np.int8)


def count_before(groups: "NDArray[np.uint64]", rank: "NDArray[np.uint64]") -> "NDArray[np.int64]":
    """Return for each row how many rows of its group have a lower rank; both arrays of shape (n,)."""
    import numpy as np

    order = np.lexsort((rank, groups))
    new = np.r_[True, groups[order][1:] != groups[order][:-1]] if len(groups) else np.empty(0, dtype=bool)
    start = np.flatnonzero(new)[np.cumsum(new) - 1]
    before = np.empty(len(groups), dtype=np.int64)
    before[order] = np.arange(len(groups)) - start
    return before


def balance(
    query_class: "NDArray[np.int8]", rank: "NDArray[np.uint64]", unsafe_share: float | None
) -> "NDArray[np.bool_]":
    """Return which rows stay so that ``unsafe_share`` of the labelled ones have an unsafe query.

    Only the class that is too many loses rows, those of highest rank; queries without labels stay.
    """
    import numpy as np

    if unsafe_share is None:
        return np.ones(len(rank), dtype=bool)
    safe, unsafe = int((query_class == SAFE_QUERY).sum()), int((query_class == UNSAFE_QUERY).sum())
    # The rounding keeps 48 * 0.7 / 0.3 from being 111.99999999999999.
    most_unsafe = unsafe if unsafe_share == 1 else int(round(safe * unsafe_share / (1 - unsafe_share), 6))
    most_safe = safe if unsafe_share == 0 else int(round(unsafe * (1 - unsafe_share) / unsafe_share, 6))
    most = np.array([most_safe, most_unsafe, len(rank)])
    kept: NDArray[np.bool_] = count_before(query_class.astype(np.uint64), rank) < most[query_class]
    return kept


def subsample(
    query_class: "NDArray[np.int8]",
    rank: "NDArray[np.uint64]",
    max_pairs: int | None,
    unsafe_share: float | None,
) -> "NDArray[np.bool_]":
    """Return which rows stay: at most ``max_pairs``, the classes in proportion, within a class those of lowest rank.

    Places are given out by Webster's method. The weight of a class is its size, or what ``unsafe_share`` asks for, so that one more pair
    does not shift places between the classes.
    """
    import numpy as np

    if max_pairs is None or len(rank) <= max_pairs:
        return np.ones(len(rank), dtype=bool)
    size = np.bincount(query_class, minlength=3).astype(np.float64)
    if unsafe_share is not None:
        labelled = size[SAFE_QUERY] + size[UNSAFE_QUERY]
        size[[SAFE_QUERY, UNSAFE_QUERY]] = labelled * (1 - unsafe_share), labelled * unsafe_share
    turn = (count_before(query_class.astype(np.uint64), rank) + 0.5) / size[query_class]
    kept = np.zeros(len(rank), dtype=bool)
    kept[np.lexsort((rank, turn))[:max_pairs]] = True
    return kept

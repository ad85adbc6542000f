"""Exact duplicates and contradictions, by 64-bit keys of the pairs' contents."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def find_first_copy(keys: "NDArray[np.uint64]", priority: "NDArray[np.int64]") -> "NDArray[np.int64]":
    """Return for each row the index of the row to keep among those of the same key: the one of lowest priority number.

    Args:
        keys: content key of each row, shape (n,).
        priority: unique number of each row, shape (n,).
    """
    import numpy as np

    order = np.lexsort((priority, keys))
    starts = np.r_[True, keys[order][1:] != keys[order][:-1]] if len(keys) else np.empty(0, dtype=bool)
    first = np.empty(len(keys), dtype=np.int64)
    first[order] = order[starts][np.cumsum(starts) - 1]
    return first


def find_contradictions(
    pair_keys: "NDArray[np.uint64]", unordered_keys: "NDArray[np.uint64]"
) -> "NDArray[np.bool_]":
    """Return which rows are of a pair that stands in both orders; every copy of both orders counts.

    Args:
        pair_keys: key of prompt, chosen and rejected, shape (n,).
        unordered_keys: key that is the same for both orders, shape (n,).
    """
    import numpy as np

    order = np.lexsort((pair_keys, unordered_keys))
    unordered, ordered = unordered_keys[order], pair_keys[order]
    differs = np.r_[False, (unordered[1:] == unordered[:-1]) & (ordered[1:] != ordered[:-1])]
    _, group = np.unique(unordered_keys, return_inverse=True)
    contradicted = np.zeros(len(pair_keys), dtype=bool)
    contradicted[group[order][differs[: len(order)]]] = True
    return contradicted[group]

"""Near duplicates by MinHash: rensa makes the signatures, banding on sorted arrays finds the candidates.

Banding here instead of a library's index: the index of a million rows is a million Python entries a band, a sorted array is 8 bytes.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The standard error of the estimated similarity is sqrt(s (1 - s) / 64): 0.05 at s = 0.8.
PERMUTATIONS = 64
# 16 bands of 4: a couple of similarity s is looked at with probability 1 - (1 - s^4)^16, which is 0.9998 at 0.8.
# Four places of 16 bits are one 64-bit key.
BANDS = 16
# Within a band's bucket a row is compared with so many best rows and so many neighbours: linear in the size of the bucket.
COMPARED = 8
_COUPLES_AT_ONCE = 1 << 16


def sign(shingles: Sequence[Sequence[str]], seed: int) -> "NDArray[np.uint16]":
    """Return MinHash signatures of sets of shingles, shape (rows, PERMUTATIONS).

    Only the low 16 bits of each minimum are kept (b-bit minwise hashing, Li and Koenig 2010): half the memory, and places of
    different sets agree by chance once in 65,536.
    """
    import numpy as np
    from rensa import RMinHash

    matrix = RMinHash.digest_matrix_from_token_sets([list(row) for row in shingles], PERMUTATIONS, seed)
    signatures = np.array(matrix.to_rows(), dtype=np.uint32).reshape(len(shingles), PERMUTATIONS)
    return (signatures & 0xFFFF).astype(np.uint16)


def find_better_neighbour(
    signatures: "NDArray[np.uint16]", rows: "NDArray[np.int64]", level: "NDArray[np.int64]", threshold: float
) -> "NDArray[np.int64]":
    """Return for each row the kept near duplicate of a strictly lower level, or -1 where the row itself is kept.

    A row is dropped where some row of a lower level is at least ``threshold`` similar to it; this is repeated on what is left
    until nothing more is dropped, so a second application drops nothing. The order of rows does not matter.

    Args:
        signatures: shape (m, PERMUTATIONS), in one block of memory.
        rows: indices into ``signatures`` of the rows to compare, shape (n,); the result names rows by them.
        level: of each of ``rows``, shape (n,); the lowest level is kept. Rows of one level never drop each other.
        threshold: estimated Jaccard similarity from which two rows are near duplicates.
    """
    import numpy as np

    better = np.full(len(rows), -1, dtype=np.int64)
    while True:
        kept = np.flatnonzero(better < 0)
        found = _search(signatures, rows[kept], level[kept], threshold)
        hit = found >= 0
        if not hit.any():
            break
        better[kept[hit]] = kept[found[hit]]
    return np.where(better >= 0, rows[_follow(better)], -1)


def _search(
    signatures: "NDArray[np.uint16]", rows: "NDArray[np.int64]", level: "NDArray[np.int64]", threshold: float
) -> "NDArray[np.int64]":
    """Return for each place in ``rows`` the place of one near duplicate of a lower level, or -1."""
    import numpy as np

    found = np.full(len(rows), -1, dtype=np.int64)
    keys = signatures.view(np.uint64)
    for band in range(BANDS):
        for worse, best in _candidates(keys[rows, band], level):
            open_couples = (found[worse] < 0) & (level[best] < level[worse])
            worse, best = worse[open_couples], best[open_couples]
            for start in range(0, len(worse), _COUPLES_AT_ONCE):
                i, j = worse[start : start + _COUPLES_AT_ONCE], best[start : start + _COUPLES_AT_ONCE]
                same = (signatures[rows[i]] == signatures[rows[j]]).mean(axis=1) >= threshold
                found[i[same]] = j[same]
    return found


def _candidates(
    keys: "NDArray[np.uint64]", level: "NDArray[np.int64]"
) -> Iterator[tuple["NDArray[np.int64]", "NDArray[np.int64]"]]:
    """Yield couples (row, row of a level no higher) that share a bucket, as two index arrays."""
    import numpy as np

    order = np.lexsort((level, keys))
    ordered = keys[order]
    new = np.r_[True, ordered[1:] != ordered[:-1]] if len(keys) else np.empty(0, dtype=bool)
    start = np.flatnonzero(new)[np.cumsum(new) - 1]
    position = np.arange(len(keys))
    crowded = position > start
    position, start = position[crowded], start[crowded]
    for step in range(COMPARED):
        reached = start + step < position
        yield order[position[reached]], order[start[reached] + step]
        reached = position - 1 - step > start
        yield order[position[reached]], order[position[reached] - 1 - step]


def _follow(better: "NDArray[np.int64]") -> "NDArray[np.int64]":
    """Replace each named place that was itself dropped by the one that it was dropped for."""
    import numpy as np

    while True:
        named = np.where(better >= 0, better, 0)
        further = np.where((better >= 0) & (better[named] >= 0), better[named], better)
        if np.array_equal(further, better):
            return better
        better = further

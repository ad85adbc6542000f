"""Vectorised 64-bit mixing, for choices that depend on a seed and a row's own content alone."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def mix(keys: "NDArray[np.uint64]", seed: int) -> "NDArray[np.uint64]":
    """Return well-mixed 64-bit numbers, one for each key.

    The finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): a bijection,
    so different keys give different numbers.
    """
    import numpy as np

    mixed = keys + np.uint64((0x9E3779B97F4A7C15 * (seed + 1)) % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def to_unit(keys: "NDArray[np.uint64]", seed: int) -> "NDArray[np.float64]":
    """Return numbers in [0, 1), uniform over keys."""
    import numpy as np

    return (mix(keys, seed) >> np.uint64(11)).astype(np.float64) / 2.0**53

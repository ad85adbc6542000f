"""Trained weights compared: how they are computed must change nothing but rounding."""

import numpy as np


def assert_same_weights(one: dict[str, np.ndarray], other: dict[str, np.ndarray], atol: float) -> None:
    """Compare all weights, on the whole ten times as closely as each.

    Adam divides a gradient by its size, so a weight whose gradient is next to nothing makes a step of its rounding: on one processor a
    single one of 128 was 1.2 times 1e-5 off, with all the others within.
    """
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_allclose(value, other[name], atol=2 * atol, rtol=0, err_msg=name)
        assert np.abs(value - other[name]).mean() < atol / 10, name

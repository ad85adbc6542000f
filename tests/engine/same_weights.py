"""Trained weights compared: how they are computed must change nothing but rounding."""

import numpy as np


def assert_same_weights(one: dict[str, np.ndarray], other: dict[str, np.ndarray], atol: float) -> None:
    """Compare each weight, and the mean over all of them a hundred times as closely."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_allclose(value, other[name], atol=atol, rtol=0, err_msg=name)
    differences = np.concatenate([np.abs(value - other[name]).ravel() for name, value in one.items()])
    assert differences.mean() < atol / 100

import math

import pandas as pd
import pytest

from bdpo_pipeline.reports.formatting import (
    DASH,
    count,
    duration,
    number,
    p_value,
    percent,
    percent_interval,
    size,
)


@pytest.mark.parametrize("missing", [None, math.nan, pd.NA])
def test_what_is_missing_is_a_dash_and_never_zero(missing: object) -> None:
    assert {
        count(missing),
        number(missing),
        percent(missing),
        p_value(missing),
        duration(missing),
        size(missing),
    } == {DASH}
    assert percent_interval(missing, 0.5) == "no interval"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (count(3695), "3,695"),
        (number(-0.001), "0.00"),
        (number(-8.04, 1), "\u22128.0"),
        (percent(0.714), "71.4\u00a0%"),
        (percent_interval(0.6249, 0.7901), "62.5 to 79.0\u00a0%"),
        (p_value(0.00002), "< 0.001"),
        (p_value(0.0421), "= 0.042"),
        (p_value(0.63), "= 0.63"),
        (duration(1.4), "1.4\u00a0s"),
        (duration(495), "8\u00a0min 15\u00a0s"),
        (duration(7260), "2\u00a0h 01\u00a0min"),
        (size(999), "999\u00a0B"),
        (size(1_668_505), "1.7\u00a0MB"),
    ],
)
def test_numbers_read_well(shown: str, expected: str) -> None:
    assert shown == expected

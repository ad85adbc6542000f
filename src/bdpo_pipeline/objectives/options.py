"""Types of an objective's options: what values are accepted, checked where a name is bound to its loss."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin


@dataclass(frozen=True)
class Interval:
    """Numbers from ``low`` to ``high``; ``open_low`` and ``open_high`` leave out the bound itself."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        low = "(" if self.open_low else "["
        high = ")" if self.open_high else "]"
        return f"a number in {low}{self.low:g}, {self.high:g}{high}"


Positive = Annotated[float, Interval(0, math.inf, open_low=True, open_high=True)]
NonNegative = Annotated[float, Interval(0, math.inf, open_high=True)]
Share = Annotated[float, Interval(0, 1)]
# A label that is wrong half the time or more says nothing, or the opposite.
FlipRate = Annotated[float, Interval(0, 0.5, open_high=True)]
Weight = Annotated[float, Interval(0, 1, open_low=True, open_high=True)]


def check_option(owner: str, name: str, value: Any, kind: Any) -> None:
    """Check one option.

    Args:
        owner: name of the objective, for the message.
        name: name of the option.
        value: what was given.
        kind: its annotation: one of the types above, ``bool``, or a ``Literal``.

    Raises:
        ValueError: naming objective, option, value, and what is accepted.
    """
    if get_origin(kind) is Literal:
        accepted, fits = f"one of {', '.join(get_args(kind))}", value in get_args(kind)
    elif get_origin(kind) is Annotated:
        interval = get_args(kind)[1]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        accepted, fits = str(interval), is_number and value in interval
    else:
        accepted, fits = f"a {kind.__name__}", isinstance(value, kind)
    if not fits:
        raise ValueError(f"objective {owner!r}: option {name} = {value!r}; it takes {accepted}")

"""Numbers as people read them. What is missing or not a number is shown as a dash, never as zero."""

import math
from typing import Any

DASH = "\u2013"


def is_missing(value: Any) -> bool:
    """Return whether a cell of a table holds no value: None, NaN or pandas' NA."""
    return value is None or type(value).__name__ == "NAType" or value != value


def count(value: Any) -> str:
    """Return a whole number with thousands separated, such as ``3,695``."""
    return DASH if is_missing(value) else f"{int(value):,}"


def number(value: Any, digits: int = 2) -> str:
    """Return a number with a fixed count of decimals and a real minus sign."""
    if is_missing(value):
        return DASH
    # Adding zero turns a rounded -0.0 into 0.0.
    return f"{round(float(value), digits) + 0.0:,.{digits}f}".replace("-", "\u2212")


def percent(share: Any, digits: int = 1) -> str:
    """Return a share of 0 to 1 in percent, such as ``71.4 %``."""
    return DASH if is_missing(share) else f"{100 * float(share):.{digits}f}\u00a0%"


def percent_interval(low: Any, high: Any) -> str:
    """Return an interval of shares in percent, such as ``62.4 to 79.0 %``."""
    if is_missing(low) or is_missing(high):
        return "no interval"
    return f"{100 * float(low):.1f} to {100 * float(high):.1f}\u00a0%"


def number_interval(low: Any, high: Any, digits: int = 2) -> str:
    """Return an interval, such as ``0.12 to 0.31``."""
    if is_missing(low) or is_missing(high):
        return "no interval"
    return f"{number(low, digits)} to {number(high, digits)}"


def p_value(p: Any) -> str:
    """Return a p-value with its sign, such as ``= 0.63`` or ``< 0.001``."""
    if is_missing(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def duration(seconds: Any) -> str:
    """Return seconds as ``42 s`` or ``7 min 05 s`` or ``1 h 12 min``."""
    if is_missing(seconds):
        return DASH
    whole = round(float(seconds))
    if whole < 60:
        return f"{float(seconds):.1f}\u00a0s"
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60:02}\u00a0s"
    return f"{whole // 3600}\u00a0h {whole % 3600 // 60:02}\u00a0min"


def size(count_of_bytes: Any) -> str:
    """Return bytes in the unit that reads best, such as ``1.7 MB``."""
    if is_missing(count_of_bytes):
        return DASH
    power = min(3, int(math.log10(max(1, count_of_bytes)) // 3))
    return f"{count_of_bytes / 1000**power:.{1 if power else 0}f}\u00a0{['B', 'kB', 'MB', 'GB'][power]}"

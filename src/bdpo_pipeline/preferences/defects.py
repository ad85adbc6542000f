"""What is wrong with a row that cannot be used."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

SHOWN_CHARACTERS = 60
SHOWN_NAMES = 20


class RowError(ValueError):
    """A row cannot be used.

    Attributes:
        reason: stable slug, such as ``missing_field``.
        field: name of the field at fault, or None where the row as a whole is broken.
    """

    def __init__(self, reason: str, field: str | None, message: str):
        super().__init__(message)
        self.reason = reason
        self.field = field


def describe(value: Any) -> str:
    """Return a value as text for a message, cut at 60 characters."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deep, or a number with too many digits
        text = f"{type(value).__name__} that is too deep or too long to show"
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


def show_name(name: Any) -> str:
    """Return a name from a file as it can stand in a message and a table: as it is, or escaped and cut where it is no plain name."""
    text = str(name)
    return text if 0 < len(text) <= SHOWN_CHARACTERS and text.isprintable() else describe(text)


def show_names(names: Iterable[Any]) -> str:
    """Return names from a file, separated by commas; ``nothing`` without any."""
    names = iter(names)
    shown = [show_name(name) for name in islice(names, SHOWN_NAMES)]
    more = sum(1 for _ in names)
    return ", ".join(shown + [f"and {more} more"] * bool(more)) or "nothing"

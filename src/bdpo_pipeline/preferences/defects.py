"""What is wrong with a row that cannot be used."""

from typing import Any


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
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

"""JSON that shows when a byte of it was altered: content under its own SHA-256."""

import hashlib
import json
from pathlib import Path
from typing import Any

# What every sealed text begins with.
SEAL = '{"sha256": "'


class DamagedError(ValueError):
    """A file is not what was written; the message says which file and what is wrong with it."""


def seal(content: dict[str, Any]) -> str:
    """Return the text of a file that holds JSON-ready content."""
    body = json.dumps(content)
    return f'{SEAL}{hashlib.sha256(body.encode()).hexdigest()}", "content": {body}}}'


def unseal(path: Path) -> dict[str, Any]:
    """Return the content of a file that :func:`seal` made the text of.

    Raises:
        DamagedError: it is missing, or a byte of it differs.
    """
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError as error:
        raise DamagedError(f"{path.name} is missing") from error
    except ValueError as error:
        raise DamagedError(f"{path.name} is torn or was altered ({error})") from error
    return unseal_text(text, path.name)


def unseal_text(text: str, name: str) -> dict[str, Any]:
    """Return the content of a text that :func:`seal` made.

    Args:
        text: such a text.
        name: what it is, for the message.

    Raises:
        DamagedError: a byte of it differs.
    """
    try:
        content: dict[str, Any] = json.loads(text)["content"]
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedError(f"{name} is torn or was altered ({error})") from error
    if seal(content) != text:
        raise DamagedError(f"{name} was altered: its content does not have the SHA-256 that stands in it")
    return content

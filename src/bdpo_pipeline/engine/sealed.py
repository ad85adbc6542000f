"""JSON that shows when a byte of it was altered: content under its own SHA-256."""

import hashlib
import json
from pathlib import Path
from typing import Any


class DamagedError(ValueError):
    """A file is not what was written; the message says which file and what is wrong with it."""


def seal(content: dict[str, Any]) -> str:
    """Return the text of a file that holds JSON-ready content."""
    body = json.dumps(content)
    return json.dumps({"sha256": hashlib.sha256(body.encode()).hexdigest(), "content": content})


def unseal(path: Path) -> dict[str, Any]:
    """Return the content of a file that :func:`seal` made the text of.

    Raises:
        DamagedError: it is missing, or a byte of it differs.
    """
    try:
        text = path.read_bytes().decode()
        content: dict[str, Any] = json.loads(text)["content"]
    except FileNotFoundError as error:
        raise DamagedError(f"{path.name} is missing") from error
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedError(f"{path.name} is torn or was altered ({error})") from error
    if seal(content) != text:
        raise DamagedError(
            f"{path.name} was altered: its content does not have the SHA-256 that stands in it"
        )
    return content

"""Parameters as flat names and short texts, with nothing secret in them."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

# What MLflow takes.
LONGEST_VALUE = 6000
MASK = "***"
_SECRET = re.compile(
    r"(^|[^a-z])(token|passwords?|passwd|secrets?|credentials?|key)([^a-z]|$)", re.IGNORECASE
)
_ASSIGNMENT = re.compile(r"([\w.-]+)([=:]\s*)([^\s,]+)")
_USER_IN_URL = re.compile(r"(\w://)[^/@\s]+@")


def flatten(name: str, value: Any) -> dict[str, str]:
    """Return a parameter as dotted names and texts; groups are taken apart, lists become JSON.

    What stands under a name that speaks of a token, password, secret, credential or key is masked, and so are
    users in URLs. Long values are cut.

    Args:
        name: the parameter's own name, such as ``training``.
        value: a typed parameter group, a mapping, or a plain value.
    """
    return dict(_flatten(name, redact(name.rpartition(".")[2], value)))


def mask_text(text: str) -> str:
    """Return a text, such as a command line, with secret ``name=value`` parts and users in URLs masked."""
    hidden = _ASSIGNMENT.sub(
        lambda part: part[1] + part[2] + MASK if _SECRET.search(part[1]) else part[0], text
    )
    return _USER_IN_URL.sub(rf"\1{MASK}@", hidden)


def redact(name: str, value: Any) -> Any:
    """Return a parameter as JSON-ready data, with what is secret by its name and users in URLs masked."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if value is not None and _SECRET.search(name):
        return MASK
    if isinstance(value, Mapping):
        return {str(key): redact(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact("", inner) for inner in value]
    return mask_text(value) if isinstance(value, str) else value


def _flatten(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flatten(f"{name}.{key}", inner)
    else:
        text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
        yield name, text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"

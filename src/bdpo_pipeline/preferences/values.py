"""Single values of a row, checked."""

import json
from collections.abc import Mapping
from typing import Any

from bdpo_pipeline.preferences.defects import RowError, describe, show_names

Message = dict[str, str]


def read_text(fields: Mapping[str, Any], name: str) -> str:
    """Return a required, non-empty text."""
    if name not in fields:
        raise RowError("missing_field", name, f"no {name!r}; found: {show_names(fields)}")
    if fields[name] is None:
        raise RowError("missing_field", name, f"{name!r} is null; accepted: text")
    return check_text(fields[name], name)


def check_text(value: Any, name: str) -> str:
    """Return the value if it is a text that holds something and can be stored as UTF-8."""
    if not isinstance(value, str):
        raise RowError("wrong_type", name, f"found {type(value).__name__} {describe(value)}; accepted: text")
    if not value.strip():
        raise RowError("empty_field", name, f"{name!r} is empty; accepted: text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        message = f"half of a surrogate pair at character {error.start}; accepted: valid Unicode"
        raise RowError("broken_encoding", name, message) from error
    return value


def read_flag(fields: Mapping[str, Any], name: str) -> bool | None:
    """Return an optional true/false label; None where it is absent or empty."""
    value = fields.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise RowError("unknown_label", name, f"found {describe(value)}; accepted: true, false, or nothing")


def read_choice(fields: Mapping[str, Any], name: str, count: int) -> int | None:
    """Return an optional whole number in [0, count); None where it is absent or empty."""
    value = fields.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str) and value in map(str, range(count)):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count:
        return value
    accepted = ", ".join(map(str, range(count)))
    raise RowError("unknown_label", name, f"found {describe(value)}; accepted: {accepted}, or nothing")


def read_categories(fields: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    """Return harm categories from the first of the names that is there: a list, a {category: bool} map, or JSON of either."""
    name = next((name for name in names if fields.get(name) not in (None, "")), None)
    if name is None:
        return ()
    value = fields[name]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RowError("wrong_type", name, f"found {describe(value)}; accepted: a JSON list") from error
    if isinstance(value, Mapping):
        if not all(isinstance(flag, bool) for flag in value.values()):
            raise RowError(
                "unknown_label", name, f"found {describe(value)}; accepted: true or false for each"
            )
        value = [category for category, flag in value.items() if flag]
    if not isinstance(value, list):
        raise RowError("wrong_type", name, f"found {describe(value)}; accepted: a list of categories")
    return tuple(check_text(category, name) for category in value)


def read_messages(value: Any, name: str) -> list[Message]:
    """Return a non-empty list of role/content messages; the order of roles is not checked here."""
    if not isinstance(value, list):
        raise RowError(
            "wrong_type", name, f"found {describe(value)}; accepted: a list of role/content messages"
        )
    if not value:
        raise RowError("empty_field", name, "found no message; accepted: at least one")
    messages = []
    for item in value:
        if not isinstance(item, Mapping) or not {"role", "content"} <= set(item):
            raise RowError(
                "wrong_type", name, f"found {describe(item)}; accepted: a message with role and content"
            )
        content = check_text(item["content"], f"{name}.content")
        messages.append({"role": check_text(item["role"], f"{name}.role"), "content": content})
    return messages


def check_turns(messages: list[Message], name: str) -> list[Message]:
    """Return the messages if they are a prompt: an optional system turn, then user and assistant in turn, user last."""
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    expected = ["user", "assistant"] * (len(turns) // 2) + ["user"]
    if turns != expected:
        accepted = "optional system, then user and assistant in turn, user last"
        message = f"found roles {describe(roles)}; accepted before the answer: {accepted}"
        raise RowError("wrong_role", name, message)
    return messages

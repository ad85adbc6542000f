"""What a row of each supported format says, as a candidate pair."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bdpo_pipeline.preferences.defects import RowError, describe
from bdpo_pipeline.preferences.values import (
    Message,
    check_text,
    check_turns,
    read_categories,
    read_choice,
    read_flag,
    read_messages,
    read_text,
)


@dataclass(frozen=True)
class Candidate:
    """Two responses to a prompt with what the row says of them; indices are 0 or 1.

    Attributes:
        prompt: messages before the answer, the last from the user.
        responses: both responses.
        preferred: the response that the format itself prefers; None where labels decide.
        is_safe: safety label of each response.
        severity: 0 (none) to 3, of each response.
        harm_categories: union over both responses, sorted.
        safer: response labelled the safer one.
        better: response labelled the more helpful one.
    """

    prompt: list[Message]
    responses: tuple[str, str]
    preferred: int | None = None
    is_safe: tuple[bool | None, bool | None] = (None, None)
    severity: tuple[int | None, int | None] = (None, None)
    harm_categories: tuple[str, ...] = ()
    safer: int | None = None
    better: int | None = None


def parse_pku_saferlhf(fields: Mapping[str, Any]) -> Candidate:
    """Read a raw PKU-SafeRLHF row: v0 with seven fields, or v1 with severity and harm categories as well."""
    prompt = [{"role": "user", "content": read_text(fields, "prompt")}]
    responses = _check_differ(read_text(fields, "response_0"), read_text(fields, "response_1"), "response_1")
    is_safe = (read_flag(fields, "is_response_0_safe"), read_flag(fields, "is_response_1_safe"))
    safer = read_choice(fields, "safer_response_id", 2)
    if safer is not None and is_safe[safer] is False and is_safe[1 - safer] is True:
        message = f"names response {safer}, which is labelled unsafe while the other one is labelled safe"
        raise RowError("inconsistent_labels", "safer_response_id", message)
    categories = {
        category
        for k in (0, 1)
        for category in read_categories(
            fields, f"response_{k}_harm_categories", f"response_{k}_harm_category"
        )
    }
    return Candidate(
        prompt,
        responses,
        is_safe=is_safe,
        severity=(
            read_choice(fields, "response_0_severity_level", 4),
            read_choice(fields, "response_1_severity_level", 4),
        ),
        harm_categories=tuple(sorted(categories)),
        safer=safer,
        better=read_choice(fields, "better_response_id", 2),
    )


def parse_prompt_chosen_rejected(fields: Mapping[str, Any]) -> Candidate:
    """Read a row of three texts."""
    prompt = [{"role": "user", "content": read_text(fields, "prompt")}]
    return _ordered(fields, prompt, read_text(fields, "chosen"), read_text(fields, "rejected"))


def parse_conversational(fields: Mapping[str, Any]) -> Candidate:
    """Read TRL's conversational format.

    ``chosen`` and ``rejected`` are lists of messages that end with the answer. ``prompt`` is a list of messages or a text; where it is
    absent, or repeated at the head of both lists, the lists hold the whole conversation. All but the answers must agree.
    """
    head: list[Message] = []
    if fields.get("prompt") is not None:
        value = fields["prompt"]
        head = (
            [{"role": "user", "content": check_text(value, "prompt")}]
            if isinstance(value, str)
            else read_messages(value, "prompt")
        )
    conversations = []
    for name in ("chosen", "rejected"):
        if fields.get(name) is None:
            read_text(fields, name)
        messages = read_messages(fields[name], name)
        conversations.append(messages if head and messages[: len(head)] == head else head + messages)
    return _from_conversations(fields, *conversations)


def parse_transcript(fields: Mapping[str, Any]) -> Candidate:
    r"""Read hh-rlhf's transcripts: turns that start with ``\n\nHuman:`` and ``\n\nAssistant:``, the last one the answer."""
    chosen, rejected = (_split_transcript(read_text(fields, name), name) for name in ("chosen", "rejected"))
    return _from_conversations(fields, chosen, rejected)


FORMATS: dict[str, Callable[[Mapping[str, Any]], Candidate]] = {
    "pku_saferlhf": parse_pku_saferlhf,
    "prompt_chosen_rejected": parse_prompt_chosen_rejected,
    "conversational": parse_conversational,
    "transcript": parse_transcript,
}


def detect_format(fields: Mapping[str, Any]) -> str | None:
    """Return the name of the format that a row's fields show, or None."""
    if {"response_0", "response_1"} <= set(fields):
        return "pku_saferlhf"
    if isinstance(fields.get("chosen"), list) and isinstance(fields.get("rejected"), list):
        return "conversational"
    if isinstance(fields.get("chosen"), str) and isinstance(fields.get("rejected"), str):
        if "prompt" in fields:
            return "prompt_chosen_rejected"
        if fields["chosen"].startswith("\n\nHuman:"):
            return "transcript"
    return None


_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def _split_transcript(text: str, name: str) -> list[Message]:
    before, *rest = _TURN.split(text)
    if before.strip() or not rest:
        message = r"no turn at the start; accepted: a transcript that starts with '\n\nHuman:'"
        raise RowError("broken_transcript", name, message)
    messages: list[Message] = []
    for speaker, said in zip(rest[::2], rest[1::2], strict=True):
        if not said.strip():
            raise RowError(
                "empty_field", name, f"turn {len(messages) + 1} ({speaker}) is empty; accepted: text"
            )
        messages.append({"role": _ROLES[speaker], "content": said.strip()})
    return messages


def _from_conversations(
    fields: Mapping[str, Any], chosen: list[Message], rejected: list[Message]
) -> Candidate:
    for name, messages in (("chosen", chosen), ("rejected", rejected)):
        if messages[-1]["role"] != "assistant":
            message = f"the last message is from {describe(messages[-1]['role'])}; accepted: assistant"
            raise RowError("wrong_role", name, message)
    if chosen[:-1] != rejected[:-1]:
        message = "what comes before the answer differs from that of 'chosen'; accepted: the same prompt"
        raise RowError("prompts_differ", "rejected", message)
    if len(chosen) == 1:
        raise RowError("missing_field", "prompt", "no message before the answer")
    prompt = check_turns(chosen[:-1], "prompt" if fields.get("prompt") is not None else "chosen")
    return _ordered(fields, prompt, chosen[-1]["content"], rejected[-1]["content"])


def _ordered(fields: Mapping[str, Any], prompt: list[Message], chosen: str, rejected: str) -> Candidate:
    return Candidate(
        prompt,
        _check_differ(chosen, rejected, "rejected"),
        preferred=0,
        is_safe=(read_flag(fields, "chosen_is_safe"), read_flag(fields, "rejected_is_safe")),
    )


def _check_differ(first: str, second: str, name: str) -> tuple[str, str]:
    if first.strip() == second.strip():
        raise RowError(
            "identical_responses", name, "both responses are the same; accepted: two different ones"
        )
    return first, second

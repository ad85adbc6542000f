"""The one path from messages to token ids: chat template, then a cut at token level.

Prompt and response are tokenised apart, so no token spans their boundary and the response is scored exactly as it would be
generated. No special token is added beyond what the template writes, so BOS never stands twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, str]
_SHOWN_CHARACTERS = 200
# Of Unicode's private use: no template means anything by it.
_MARK = "\ue000"


class TemplateError(ValueError):
    """The tokenizer's chat template cannot be used for preference pairs."""


@dataclass(frozen=True)
class EncodedPair:
    """Token ids of a pair. Both responses end with the end-of-turn token and are scored whole."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


def render_prompt(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> str:
    """Return the text after which the model is to answer, generation prompt included.

    Raises:
        TemplateError: the tokenizer has no chat template, or the template refuses these messages.
    """
    return _render(tokenizer, messages, add_generation_prompt=True)


def encode_prompts(
    tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[Sequence[Message]]
) -> list[list[int]]:
    """Return the token ids of each prompt, generation prompt included."""
    return _tokenise(tokenizer, [render_prompt(tokenizer, messages) for messages in prompts])


def encode_conversation(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> list[int]:
    """Return the token ids of a whole conversation, just as the chat template writes it.

    Raises:
        TemplateError: see :func:`render_prompt`.
    """
    return _tokenise(tokenizer, [_render(tokenizer, messages)])[0]


def encode_around(tokenizer: "PreTrainedTokenizerBase", content: str) -> tuple[list[int], list[int]]:
    """Return the token ids of a prompt of one user turn before and after the place where more text could be added to the turn."""
    before, _, after = render_prompt(tokenizer, [{"role": "user", "content": content + _MARK}]).rpartition(
        _MARK
    )
    first, second = _tokenise(tokenizer, [before, after])
    return first, second


def encode_pairs(
    tokenizer: "PreTrainedTokenizerBase", rows: Sequence[tuple[Sequence[Message], str, str]]
) -> list[EncodedPair]:
    """Return the token ids of (prompt messages, chosen, rejected) rows, in order.

    Raises:
        TemplateError: see :func:`render_prompt`; or the template rewrites earlier turns when an answer is added.
    """
    encoded = encode_responses(
        tokenizer, [(messages, [chosen, rejected]) for messages, chosen, rejected in rows]
    )
    return [EncodedPair(prompt, *responses) for prompt, responses in encoded]


def encode_responses(
    tokenizer: "PreTrainedTokenizerBase", rows: Sequence[tuple[Sequence[Message], Sequence[str]]]
) -> list[tuple[list[int], list[list[int]]]]:
    """Return the token ids of each row's prompt messages and of its responses, which end with the end-of-turn token.

    Raises:
        TemplateError: see :func:`encode_pairs`.
    """
    prompts = [render_prompt(tokenizer, messages) for messages, _ in rows]
    texts = [
        _render_response(tokenizer, prompt, messages, response)
        for prompt, (messages, responses) in zip(prompts, rows, strict=True)
        for response in responses
    ]
    prompt_ids = _tokenise(tokenizer, prompts)
    ids = iter([_end_turn(tokenizer, ids) for ids in _tokenise(tokenizer, texts)])
    return [
        (prompt, list(islice(ids, len(responses))))
        for prompt, (_, responses) in zip(prompt_ids, rows, strict=True)
    ]


def encode_pair(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], chosen: str, rejected: str
) -> EncodedPair:
    """Return the token ids of one pair; see :func:`encode_pairs`."""
    return encode_pairs(tokenizer, [(messages, chosen, rejected)])[0]


def find_special_token(tokenizer: "PreTrainedTokenizerBase", text: str) -> str | None:
    """Return a special token that stands in the text as if it were content, or None.

    Such a text would forge a turn boundary once it is tokenised, so rows that hold one cannot be used as they are.
    """
    added = tokenizer.added_tokens_decoder.values()
    return next((str(token.content) for token in added if token.special and token.content in text), None)


def _render(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], **options: Any) -> str:
    if not tokenizer.chat_template:
        raise TemplateError(
            f"the tokenizer of {tokenizer.name_or_path} has no chat template; "
            "set base_model.chat_template to a Jinja file that renders its conversations"
        )
    try:
        text = str(tokenizer.apply_chat_template(list(messages), tokenize=False, **options))
        text.encode()
        return text
    # A template is a program: beside refusing messages, it may divide by zero, nest too deep, write half a surrogate pair.
    except Exception as error:
        roles = str([message["role"] for message in messages])[:_SHOWN_CHARACTERS]
        said = (str(error) or type(error).__name__)[:_SHOWN_CHARACTERS]
        raise TemplateError(
            f"the chat template of {tokenizer.name_or_path} refuses roles {roles}: {said}; set base_model.chat_template to one that "
            "takes them"
        ) from error


def _render_response(
    tokenizer: "PreTrainedTokenizerBase", prompt: str, messages: Sequence[Message], response: str
) -> str:
    whole = _render(tokenizer, [*messages, {"role": "assistant", "content": response}])
    if not whole.startswith(prompt):
        raise TemplateError(
            f"the chat template of {tokenizer.name_or_path} changes earlier turns when an answer is added, so the answer "
            f"cannot be told from its prompt (rendered prompt ends {prompt[-60:]!r}); set base_model.chat_template"
        )
    return whole[len(prompt) :]


def _tokenise(tokenizer: "PreTrainedTokenizerBase", texts: list[str]) -> list[list[int]]:
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)[
        "input_ids"
    ]
    return ids


def _end_turn(tokenizer: "PreTrainedTokenizerBase", ids: list[int]) -> list[int]:
    """Cut what the template writes after the end-of-turn token (a newline, mostly); add the token where it writes none."""
    end = tokenizer.eos_token_id
    if end in ids:
        return ids[: len(ids) - ids[::-1].index(end)]
    return [*ids, end]

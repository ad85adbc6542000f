"""Token counts of pairs, and which of them are out of bounds."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bdpo_pipeline.filters.parameters import LengthBounds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

OK, SPECIAL_TOKEN, REFUSED_BY_TEMPLATE = 0, 1, 2
LENGTH_REASONS = (
    "a text holds a special token of the tokenizer",
    "the chat template refuses the messages",
    "prompt too long",
    "response too short",
    "response too long",
)


def count_tokens(
    tokenizer: "PreTrainedTokenizerBase", rows: Sequence[Mapping[str, Any]]
) -> tuple["NDArray[np.int32]", "NDArray[np.int8]"]:
    """Return token counts of prompt, chosen and rejected, shape (rows, 3), and a state for each row.

    The counts come from the encoding that training uses. The state is ``OK``, ``SPECIAL_TOKEN`` or ``REFUSED_BY_TEMPLATE``; counts are
    0 unless it is ``OK``.
    """
    import numpy as np

    from bdpo_pipeline.models.encoding import TemplateError, encode_pairs

    counts = np.zeros((len(rows), 3), dtype=np.int32)
    state = np.array([SPECIAL_TOKEN if _holds_special_token(tokenizer, row) else OK for row in rows], np.int8)
    usable = np.flatnonzero(state == OK)
    texts = [(rows[i]["prompt"], rows[i]["chosen"], rows[i]["rejected"]) for i in usable.tolist()]
    try:
        encoded: list[Any] = list(encode_pairs(tokenizer, texts))
    except TemplateError:
        encoded = []
        for text in texts:
            try:
                encoded += encode_pairs(tokenizer, [text])
            except TemplateError:
                encoded.append(None)
    for i, pair in zip(usable, encoded, strict=True):
        if pair is None:
            state[i] = REFUSED_BY_TEMPLATE
        else:
            counts[i] = len(pair.prompt_ids), len(pair.chosen_ids), len(pair.rejected_ids)
    return counts, state


def check_lengths(
    counts: "NDArray[np.int32]", state: "NDArray[np.int8]", bounds: LengthBounds
) -> "NDArray[np.int8]":
    """Return 0 for rows within bounds, else the 1-based number of the reason in ``LENGTH_REASONS``.

    Args:
        counts: tokens of prompt, chosen and rejected, shape (n, 3).
        state: of each row, shape (n,), as :func:`count_tokens` gives it.
        bounds: in tokens, ends included.
    """
    import numpy as np

    prompt, responses = counts[:, 0], counts[:, 1:]
    conditions = [
        state == SPECIAL_TOKEN,
        state == REFUSED_BY_TEMPLATE,
        prompt > bounds.max_prompt_tokens,
        responses.min(axis=1, initial=np.iinfo(np.int32).max) < bounds.min_response_tokens,
        responses.max(axis=1, initial=0) > bounds.max_response_tokens,
    ]
    return np.select(conditions, [1, 2, 3, 4, 5], 0).astype(np.int8)


def _holds_special_token(tokenizer: "PreTrainedTokenizerBase", row: Mapping[str, Any]) -> bool:
    from bdpo_pipeline.models.encoding import find_special_token

    texts = [row["chosen"], row["rejected"], *(message["content"] for message in row["prompt"])]
    return find_special_token(tokenizer, "\n".join(texts)) is not None

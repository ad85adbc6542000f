"""Token ids of pairs, made once: every later step reads these and never the text."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from bdpo_pipeline.models.encoding import EncodedPair, encode_pairs
from bdpo_pipeline.models.loading import load_tokenizer

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
_ROWS_AT_ONCE = 1000
_LABELS = ("chosen_is_safe", "rejected_is_safe", "chosen_severity", "rejected_severity")


class TruncationError(RuntimeError):
    """More pairs would be cut than the parameters allow."""


@dataclass(frozen=True)
class Bounds:
    """Most tokens of a prompt and of a response, and the largest share of pairs that may be cut to that."""

    max_prompt_tokens: int
    max_response_tokens: int
    max_truncated_share: float


def tokenise_pairs(model: str, rows: Iterable[dict[str, Any]], bounds: Bounds) -> "pd.DataFrame":
    """Return the ``tokenised_pairs`` table (docs/artifacts.md) of canonical rows, in order.

    Args:
        model: folder of the prepared base model.
        rows: canonical rows with ``pair_id``, ``split``, ``prompt``, ``chosen``, ``rejected``, and the labels of both responses.
        bounds: prompts lose their beginning and responses their end beyond these.

    Raises:
        TruncationError: a larger share of pairs would be cut than allowed.
    """
    import pandas as pd

    tokenizer = load_tokenizer(model)
    records = []
    for part in _parts(rows, _ROWS_AT_ONCE):
        encoded = encode_pairs(tokenizer, [(row["prompt"], row["chosen"], row["rejected"]) for row in part])
        records += [_record(row, pair, bounds) for row, pair in zip(part, encoded, strict=True)]
    columns = ["pair_id", "split", "prompt_ids", "chosen_ids", "rejected_ids", "truncated", *_LABELS]
    table = pd.DataFrame(records, columns=columns)
    # Of a nullable type whatever is in them, so that one without a label has no other type than the rest.
    types = {name: "boolean" if name.endswith("is_safe") else "Int8" for name in _LABELS}
    table = table.astype(types)
    _check_truncation(table["truncated"].tolist(), table["pair_id"].tolist(), bounds)
    return table


def _record(row: dict[str, Any], pair: EncodedPair, bounds: Bounds) -> dict[str, Any]:
    kept = {
        "prompt_ids": pair.prompt_ids[-bounds.max_prompt_tokens :],
        "chosen_ids": pair.chosen_ids[: bounds.max_response_tokens],
        "rejected_ids": pair.rejected_ids[: bounds.max_response_tokens],
    }
    truncated = any(len(ids) < len(getattr(pair, name)) for name, ids in kept.items())
    labels = {name: row[name] for name in _LABELS}
    return {"pair_id": row["pair_id"], "split": row["split"], **kept, "truncated": truncated, **labels}


def _check_truncation(truncated: Sequence[bool], pair_ids: Sequence[str], bounds: Bounds) -> None:
    cut = [pair_id for pair_id, flag in zip(pair_ids, truncated, strict=True) if flag]
    if len(cut) > bounds.max_truncated_share * len(truncated):
        raise TruncationError(
            f"{len(cut)} of {len(truncated)} pairs are longer than tokenisation.max_prompt_tokens = {bounds.max_prompt_tokens} or "
            f"max_response_tokens = {bounds.max_response_tokens}, more than max_truncated_share = {bounds.max_truncated_share} "
            f"(first: {', '.join(cut[:3])}). Raise the bounds, or drop such pairs in filtering by lower length bounds there"
        )


def _parts(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part

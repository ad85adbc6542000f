"""Labelled responses for judges: those whose prompts nothing else uses, and apart from them those of held-out prompts."""

import heapq
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bdpo_pipeline.filters.contamination import ContaminationIndex, index_prompts
from bdpo_pipeline.filters.near_duplicates import find_better_neighbour, sign
from bdpo_pipeline.filters.parameters import FilteringParameters
from bdpo_pipeline.filters.text import hash_text, shingle, split_words
from bdpo_pipeline.io.tables import StoredTable
from bdpo_pipeline.judges.labels import COLUMNS, HELDOUT, UNUSED
from bdpo_pipeline.seeds import derive_seed

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

_READ = ["pair_id", "prompt", "chosen", "rejected", "chosen_is_safe", "rejected_is_safe", "split"]
_ROWS_READ = 64


@dataclass(frozen=True)
class _Pair:
    """A pair whose responses may be used: its prompt as one text and as words, and its row."""

    text: str
    words: list[str]
    row: dict[str, Any]

    @property
    def key(self) -> str:
        return " ".join(self.words)


def select_judge_responses(
    preference_pairs: StoredTable,
    used: Iterable[StoredTable],
    heldout_pairs: StoredTable,
    evaluation_prompts: StoredTable,
    labelled_prompts: Collection[str],
    *,
    filtering: FilteringParameters,
    max_pairs: int,
    max_pairs_per_prompt: int,
    seed: int,
) -> "pd.DataFrame":
    """Return labelled responses of ``unused_responses`` and ``heldout_responses``, with the columns of `judges.labels`.

    No prompt of the first is that of a used or held-out pair, of an evaluation prompt or of the labels that ship, nor nearly the same:
    the bounds are those that keep training and held-out prompts apart (``filtering.prompt_leak``, ``filtering.contamination``). The
    second are of the pairs that their source declares held out or, where no source does, of the prompts of ``heldout_pairs``. Memory
    grows with ``max_pairs``.

    Args:
        preference_pairs: all pairs.
        used: the tables of pairs that a model is trained or watched with.
        heldout_pairs: those that it is measured with.
        evaluation_prompts: what models are asked.
        labelled_prompts: of the sets of labels that ship, which measure judges whatever models are asked.
        filtering: its bounds of similarity.
        max_pairs: most pairs of each of the two, chosen by a hash of seed and pair.
        max_pairs_per_prompt: most pairs of one prompt among the unused.
        seed: the project's seed.
    """
    import pandas as pd

    heldout = set(_keys(heldout_pairs))
    taken = heldout.union(*(_keys(table) for table in used))
    declared = any("heldout" in batch["split"].to_pylist() for batch in preference_pairs.batches(["split"]))
    unused = (
        pair
        for pair in _labelled(preference_pairs)
        if pair.row["split"] != "heldout" and pair.key not in taken
    )
    held_out = (
        pair
        for pair in _labelled(preference_pairs)
        if (pair.row["split"] == "heldout" if declared else pair.key in heldout)
    )
    order = derive_seed(seed, "judges.pairs")
    parts = {
        UNUSED: _choose(_few_a_prompt(unused, max_pairs_per_prompt), max_pairs, order),
        HELDOUT: _choose(held_out, max_pairs, order),
    }
    asked = [row for batch in evaluation_prompts.batches() for row in batch.to_pylist()]
    asked += [
        {"prompt_id": "labelled", "prompt": text, "goal": None, "contamination": "shared_words"}
        for text in labelled_prompts
    ]
    apart = _apart(
        [pair.words for pair in parts[UNUSED]],
        [key.split(" ") for key in taken]
        + [pair.words for pair in parts[HELDOUT]]
        + [split_words(text) for text in labelled_prompts],
        index_prompts(asked, filtering.contamination.ngram_words),
        filtering,
        derive_seed(seed, "judges.near_duplicates"),
    )
    parts[UNUSED] = [pair for pair, kept in zip(parts[UNUSED], apart, strict=True) if kept]
    rows = [row for name, pairs in parts.items() for pair in pairs for row in _responses(name, pair)]
    return pd.DataFrame(rows, columns=list(COLUMNS)).drop_duplicates(
        ["label_set", "prompt", "response"], ignore_index=True
    )


def _keys(table: StoredTable) -> Iterator[str]:
    for batch in table.batches(["prompt"]):
        for row in batch.to_pylist():
            yield _as_pair(row).key


def _as_pair(row: dict[str, Any]) -> _Pair:
    contents = [message["content"] for message in row["prompt"]]
    return _Pair("\n".join(contents), [word for text in contents for word in split_words(text)], row)


def _labelled(pairs: StoredTable) -> Iterator[_Pair]:
    for batch in pairs.batches(_READ, batch_size=_ROWS_READ):
        for row in batch.to_pylist():
            if None not in (row["chosen_is_safe"], row["rejected_is_safe"]):
                yield _as_pair(row)


def _choose(pairs: Iterable[_Pair], most: int, seed: int) -> list[_Pair]:
    return heapq.nsmallest(most, pairs, key=lambda pair: hash_text(f"{seed}/{pair.row['pair_id']}"))


def _few_a_prompt(pairs: Iterable[_Pair], most: int) -> Iterator[_Pair]:
    counts: dict[int, int] = {}
    for pair in pairs:
        key = hash_text(pair.key)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= most:
            yield pair


def _apart(
    prompts: list[list[str]],
    others: list[list[str]],
    evaluation: ContaminationIndex,
    filtering: FilteringParameters,
    seed: int,
) -> "NDArray[np.bool_]":
    """Return which prompts, given as words, are neither nearly one of the others nor in the evaluation; shape (prompts,)."""
    import numpy as np

    size, threshold = filtering.prompt_leak.shingle_words, filtering.prompt_leak.threshold
    everything = [*others, *prompts]
    if not prompts:
        return np.zeros(0, dtype=bool)
    signatures = sign([shingle(words, size) for words in everything], seed)
    level = (np.arange(len(everything)) >= len(others)).astype(np.int64)
    near = find_better_neighbour(signatures, np.arange(len(everything)), level, threshold) >= 0
    asked = np.array([evaluation.find(words) is not None for words in prompts])
    apart: NDArray[np.bool_] = ~near[len(others) :] & ~asked
    return apart


def _responses(label_set: str, pair: _Pair) -> Iterator[dict[str, Any]]:
    for side in ("chosen", "rejected"):
        yield {
            "label_set": label_set,
            "response_id": f"{label_set}/{pair.row['pair_id']}/{side}",
            "model": None,
            "family": None,
            "prompt": pair.text,
            "response": pair.row[side],
            "label": "positive" if pair.row[f"{side}_is_safe"] else "negative",
        }

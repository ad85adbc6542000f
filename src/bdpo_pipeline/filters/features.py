"""What the filters need to know of each pair, as arrays: some 320 bytes a row, and no text."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from bdpo_pipeline.filters.contamination import index_prompts
from bdpo_pipeline.filters.lengths import count_tokens
from bdpo_pipeline.filters.near_duplicates import PERMUTATIONS, sign
from bdpo_pipeline.filters.parameters import FilteringParameters
from bdpo_pipeline.filters.splits import DECLARED
from bdpo_pipeline.filters.text import hash_text, shingle, split_words
from bdpo_pipeline.filters.unsafe_chosen import apply_unsafe_policy
from bdpo_pipeline.io.tables import StoredTable
from bdpo_pipeline.preferences.rows import compute_pair_id

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

ROWS_AT_ONCE = 1024
# Words, runs of words and tokens take some fifty times the memory of the text that they are made from.
CHARACTERS_AT_ONCE = 4_000_000
# Few: each row may be of the largest size that ingestion allows.
ROWS_READ = 64


@dataclass(frozen=True)
class PairFeatures:
    """One entry a pair, in file order. Where ``unusable`` is set, only keys, labels and ``declared`` are filled.

    Attributes:
        pair_id: both halves of the pair's id, shape (n, 2).
        unordered_key: the same for both orders of the responses.
        prompt_key: of the prompt's words, so that case, spacing and punctuation do not make another prompt.
        row_key: of source and row.
        declared: what the source declares, a value of ``splits.DECLARED``.
        chosen_is_safe: 1, 0, or -1 without a label.
        rejected_is_safe: the same.
        unusable: the policy on unsafe chosen responses does not use the row.
        tokens: of prompt, chosen, rejected, shape (n, 3).
        token_state: see ``lengths.count_tokens``.
        contamination: 1-based number of the hit in the list of hits, 0 without one.
        pair_signature: MinHash of prompt, chosen and rejected, shape (n, PERMUTATIONS).
        prompt_signature: MinHash of the prompt.
    """

    pair_id: "NDArray[np.uint64]"
    unordered_key: "NDArray[np.uint64]"
    prompt_key: "NDArray[np.uint64]"
    row_key: "NDArray[np.uint64]"
    declared: "NDArray[np.int8]"
    chosen_is_safe: "NDArray[np.int8]"
    rejected_is_safe: "NDArray[np.int8]"
    unusable: "NDArray[np.bool_]"
    tokens: "NDArray[np.int32]"
    token_state: "NDArray[np.int8]"
    contamination: "NDArray[np.int32]"
    pair_signature: "NDArray[np.uint16]"
    prompt_signature: "NDArray[np.uint16]"

    @classmethod
    def allocate(cls, rows: int) -> Self:
        """Return zeroed features for so many rows: allocated once, or growing would double the peak."""
        import numpy as np

        return cls(
            pair_id=np.zeros((rows, 2), np.uint64),
            unordered_key=np.zeros(rows, np.uint64),
            prompt_key=np.zeros(rows, np.uint64),
            row_key=np.zeros(rows, np.uint64),
            declared=np.zeros(rows, np.int8),
            chosen_is_safe=np.full(rows, -1, np.int8),
            rejected_is_safe=np.full(rows, -1, np.int8),
            unusable=np.zeros(rows, np.bool_),
            tokens=np.zeros((rows, 3), np.int32),
            token_state=np.zeros(rows, np.int8),
            contamination=np.zeros(rows, np.int32),
            pair_signature=np.zeros((rows, PERMUTATIONS), np.uint16),
            prompt_signature=np.zeros((rows, PERMUTATIONS), np.uint16),
        )

    @property
    def pair_key(self) -> "NDArray[np.uint64]":
        """First half of the pair's id."""
        return self.pair_id[:, 0]

    @property
    def bytes(self) -> int:
        """Memory of all arrays together."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))


class FeatureReader:
    """Fills the features of a table, batch by batch."""

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        evaluation_prompts: StoredTable,
        parameters: FilteringParameters,
        seed: int,
    ):
        """Index the evaluation prompts; ``seed`` is that of the MinHash permutations."""
        self._tokenizer = tokenizer
        self._parameters = parameters
        self._seed = seed
        prompts = [row for batch in evaluation_prompts.batches() for row in batch.to_pylist()]
        self._contamination = index_prompts(prompts, parameters.contamination.ngram_words)
        self._prompt_sets = {row["prompt_id"]: row["prompt_set"] for row in prompts}
        self.hits: list[tuple[str, str]] = []
        self._hit_numbers: dict[tuple[str, str], int] = {}

    def read(self, pairs: StoredTable) -> PairFeatures:
        """Return the features of every row; ``hits`` then holds what ``contamination`` numbers, as (prompt id, reason)."""
        features = PairFeatures.allocate(pairs.num_rows)
        start = 0
        for rows in _read_portions(pairs):
            self._fill(features, start, rows)
            start += len(rows)
        return features

    def _fill(self, features: PairFeatures, start: int, rows: Sequence[Mapping[str, Any]]) -> None:
        used: list[Mapping[str, Any]] = []
        places: list[int] = []
        for place, row in enumerate(rows, start):
            usable = apply_unsafe_policy(row, self._parameters.unsafe_chosen)
            _fill_keys(features, place, usable or row)
            features.unusable[place] = usable is None
            if usable is not None:
                used.append(usable)
                places.append(place)
        if used:
            self._fill_texts(features, places, used)

    def _fill_texts(self, features: PairFeatures, places: list[int], rows: list[Mapping[str, Any]]) -> None:
        features.tokens[places], features.token_state[places] = count_tokens(self._tokenizer, rows)
        pair_size = self._parameters.near_duplicates.shingle_words
        prompt_size = self._parameters.prompt_leak.shingle_words
        pair_shingles, prompt_shingles = [], []
        for place, row in zip(places, rows, strict=True):
            turns = [split_words(message["content"]) for message in row["prompt"]]
            words = [word for turn in turns for word in turn]
            features.contamination[place] = self._number_hit(turns)
            prompt_shingles.append(shingle(words, prompt_size))
            pair_shingles.append(
                shingle(words, pair_size, "prompt ")
                + shingle(split_words(row["chosen"]), pair_size, "chosen ")
                + shingle(split_words(row["rejected"]), pair_size, "rejected ")
            )
        features.pair_signature[places] = sign(pair_shingles, self._seed)
        features.prompt_signature[places] = sign(prompt_shingles, self._seed)

    def _number_hit(self, turns: Sequence[Sequence[str]]) -> int:
        hit = next((hit for turn in turns if (hit := self._contamination.find(turn))), None)
        if hit is None:
            return 0
        how = "same prompt as in" if hit.kind == "exact" else "shares a run of words with"
        entry = (hit.prompt_id, f"{how} {self._prompt_sets[hit.prompt_id]}")
        if entry not in self._hit_numbers:
            self.hits.append(entry)
            self._hit_numbers[entry] = len(self.hits)
        return self._hit_numbers[entry]


def _read_portions(pairs: StoredTable) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows in portions of at most ROWS_AT_ONCE rows, and fewer where their texts are long."""
    portion: list[dict[str, Any]] = []
    characters = 0
    for batch in pairs.batches(batch_size=ROWS_READ):
        for row in batch.to_pylist():
            portion.append(row)
            said = sum(len(message["content"]) for message in row["prompt"])
            characters += said + len(row["chosen"]) + len(row["rejected"])
            if len(portion) == ROWS_AT_ONCE or characters > CHARACTERS_AT_ONCE:
                yield portion
                portion, characters = [], 0
    if portion:
        yield portion


_LABELS = {True: 1, False: 0, None: -1}


def _fill_keys(features: PairFeatures, place: int, row: Mapping[str, Any]) -> None:
    pair_id = row["pair_id"]
    other_order = compute_pair_id(row["prompt"], row["rejected"], row["chosen"])
    words = [[message["role"], *split_words(message["content"])] for message in row["prompt"]]
    features.pair_id[place] = int(pair_id[:16], 16), int(pair_id[16:], 16)
    features.unordered_key[place] = int(min(pair_id, other_order)[:16], 16)
    features.prompt_key[place] = hash_text(json.dumps(words, ensure_ascii=False))
    features.row_key[place] = hash_text(f"{row['source']}\n{row['source_row']}")
    features.declared[place] = DECLARED[row["split"]]
    features.chosen_is_safe[place] = _LABELS[row["chosen_is_safe"]]
    features.rejected_is_safe[place] = _LABELS[row["rejected_is_safe"]]

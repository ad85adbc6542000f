"""Training prompts that stand in an evaluation set."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bdpo_pipeline.filters.text import shingle, split_words


class Hit(NamedTuple):
    """A training text that stands in an evaluation prompt.

    Attributes:
        prompt_id: of the evaluation prompt.
        kind: ``exact``, or ``overlap`` where they share a run of words.
    """

    prompt_id: str
    kind: str


class ContaminationIndex:
    """Finds texts that equal an evaluation prompt or share a run of ``ngram_words`` words with one.

    Both sides are compared as words, without case and punctuation. An evaluation prompt of fewer words counts
    where it is contained whole.
    """

    def __init__(
        self, prompts: Iterable[tuple[str, str]], ngram_words: int, whole: Iterable[tuple[str, str]] = ()
    ):
        """Index (prompt_id, text) pairs; the first prompt that holds a run is the one that hits name.

        Texts of ``whole`` are hit by nothing less than the same text.
        """
        self._ngram_words = ngram_words
        self._exact: dict[str, str] = {}
        self._runs: dict[int, dict[str, str]] = {}
        for prompt_id, text in prompts:
            words = split_words(text)
            self._exact.setdefault(" ".join(words), prompt_id)
            size = min(ngram_words, len(words))
            runs = self._runs.setdefault(size, {})
            for run in shingle(words, size):
                runs.setdefault(run, prompt_id)
        for prompt_id, text in whole:
            self._exact.setdefault(" ".join(split_words(text)), prompt_id)

    def find(self, words: Sequence[str]) -> Hit | None:
        """Return the first hit of a text, given as the words of :func:`split_words`."""
        same = self._exact.get(" ".join(words))
        if same is not None:
            return Hit(same, "exact")
        for size, runs in self._runs.items():
            if size <= len(words):
                for run in shingle(words, size):
                    if run in runs:
                        return Hit(runs[run], "overlap")
        return None


def index_prompts(rows: Sequence[Mapping[str, Any]], ngram_words: int) -> ContaminationIndex:
    """Return the index of the prompts and goals of rows of ``evaluation_prompts``; prompts are hit before goals."""
    texts: dict[str, list[tuple[str, str]]] = {"shared_words": [], "same_prompt": []}
    for name in ("prompt", "goal"):
        for row in rows:
            if row[name]:
                texts[row["contamination"]].append((row["prompt_id"], row[name]))
    return ContaminationIndex(texts["shared_words"], ngram_words, texts["same_prompt"])

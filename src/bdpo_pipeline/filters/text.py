"""Texts as words, for comparisons that ignore case, punctuation and spacing."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

_WORD = re.compile(r"\w+")


def split_words(text: str) -> list[str]:
    """Return the words of a text: Unicode compatibility form, case folded, no punctuation.

    A text without any letter or digit is its own single word, so that it still differs from other such texts.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _WORD.findall(folded) or [folded.strip()]


def shingle(words: Sequence[str], size: int, mark: str = "") -> list[str]:
    """Return each run of ``size`` words, or the whole where it has fewer; ``mark`` keeps runs of different fields apart."""
    last = max(1, len(words) - size + 1)
    return [mark + " ".join(words[start : start + size]) for start in range(last)]


def hash_text(text: str) -> int:
    """Return a 64-bit key of a text that is the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")

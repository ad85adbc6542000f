"""Whether a generated answer is right.

Numbers are taken as lm-evaluation-harness takes them for GSM8K (its ``strict-match`` and ``flexible-extract``), so that scores compare.
Texts are compared as SQuAD's own evaluation does (Rajpurkar et al., arXiv 1606.05250): without case, punctuation and articles; where
that leaves nothing of the answer, such as "A" of a choice, with articles, or with punctuation, too.
"""

import re
import string

from bdpo_pipeline.benchmarks.ability_sets import Match

_MARKED = re.compile(r"#### (-?[0-9.,]+)")
_NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def grade(match: Match, answer: str, response: str) -> dict[str, bool]:
    """Return whether a response is right, by measure: ``accuracy``, which is strict, and ``accuracy_lenient``.

    Args:
        match: ``number``: the number behind the first ``####`` counts, leniently the last number anywhere. ``text``: the response as a
            whole counts, leniently the answer may stand anywhere in it. An empty response is never right.
        answer: the right one; of numbers, what stands behind its last ``####``.
        response: what was answered.
    """
    if match == "number":
        right = _plain(answer.rpartition("#### ")[2].strip())
        marked, anywhere = _MARKED.findall(response), _NUMBER.findall(response)
        return {
            "accuracy": bool(marked) and _plain(marked[0]) == right,
            "accuracy_lenient": bool(anywhere) and _plain(anywhere[-1]) == right,
        }
    reading = next((read for read in (normalise, _keep_articles, _keep_all) if read(answer)), _keep_all)
    right, given = reading(answer), reading(response)
    return {
        "accuracy": bool(given) and given == right,
        "accuracy_lenient": bool(given) and f" {right} " in f" {given} ",
    }


def normalise(text: str) -> str:
    """Return the words of a text, in lower case, without punctuation and articles, one space between them."""
    return _keep_all(_ARTICLES.sub(" ", _keep_articles(text)))


def _keep_articles(text: str) -> str:
    return _keep_all(text.translate(_PUNCTUATION))


def _keep_all(text: str) -> str:
    return " ".join(text.lower().split())


def _plain(number: str) -> str:
    return number.replace(",", "").replace("$", "").removesuffix(".")

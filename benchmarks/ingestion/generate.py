"""Preference rows in any number, with the lengths of the real ones and known numbers of every defect.

Prompts and answers are recombined from the sentences of the PKU-SafeRLHF sample, so lengths and vocabulary are real and
no two rows are alike unless they are planted.
"""

import csv
import gzip
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Share of each planted kind; the rest are ordinary rows.
PLANTED = {
    "exact_duplicate": 0.02,
    "near_duplicate": 0.02,
    "contradiction": 0.01,
    "contaminated": 0.005,
    "unsafe_chosen": 0.05,
    "too_long": 0.002,
    "malformed": 0.004,
}
MALFORMED = ("broken_json", "broken_encoding", "missing_field", "empty_field", "wrong_type", "identical_responses",
             "unknown_label", "not_an_object")  # fmt: skip
# Rows of which copies are planted later.
_REMEMBERED = 500


class Texts:
    """Sentences of the real sample, and texts made of them."""

    def __init__(self, raw: Path, seed: int):
        self.random = random.Random(seed)
        with gzip.open(raw / "pku-saferlhf-sample" / "train.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        self.sentences = [
            sentence
            for row in rows
            for k in (0, 1)
            for sentence in re.split(r"(?<=[.!?])\s+", row[f"response_{k}"])
            if 6 <= len(sentence.split()) <= 40
        ]
        self.prompts = [row["prompt"].split() for row in rows if 10 <= len(row["prompt"].split()) <= 60]
        with (raw / "strongreject" / "strongreject_dataset.csv").open(encoding="utf-8", newline="") as file:
            self.evaluation = [row["forbidden_prompt"] for row in csv.DictReader(file)]

    def prompt(self) -> str:
        first, second = self.random.choice(self.prompts), self.random.choice(self.prompts)
        return " ".join([*first[: len(first) // 2 + 1], *second[len(second) // 2 :]])

    def response(self) -> str:
        return " ".join(self.random.choices(self.sentences, k=self.random.randint(2, 6)))

    def near_copy(self, text: str) -> str:
        words = text.split()
        words[self.random.randrange(len(words))] = "Zwischenzeile"
        return " ".join(words)


def write_rows(path: Path, raw: Path, rows: int, seed: int = 0) -> Counter[str]:
    """Write JSON lines in PKU-SafeRLHF's format; return how many of each planted kind there are."""
    texts = Texts(raw, seed)
    planted: Counter[str] = Counter()
    with path.open("wb") as file:
        for line in _generate(texts, rows, planted):
            file.write(line + b"\n")
    return planted


def _generate(texts: Texts, rows: int, planted: Counter[str]) -> Iterator[bytes]:
    kinds, shares = list(PLANTED), list(PLANTED.values())
    earlier: list[dict[str, Any]] = []
    for _ in range(rows):
        kind = texts.random.choices([*kinds, "ordinary"], [*shares, 1 - sum(shares)])[0]
        if kind in ("exact_duplicate", "near_duplicate", "contradiction"):
            kind = kind if earlier else "ordinary"
        planted[kind] += 1
        if kind == "malformed":
            reason = MALFORMED[planted[kind] % len(MALFORMED)]
            planted[f"malformed: {reason}"] += 1
            yield _malform(_new_row(texts), reason)
            continue
        row = earlier.pop(texts.random.randrange(len(earlier))) if kind in kinds[:3] else _new_row(texts)
        if kind == "near_duplicate":
            row |= {"response_0": texts.near_copy(row["response_0"])}
        elif kind == "contradiction":
            row |= {
                "better_response_id": 1 - row["better_response_id"],
                "safer_response_id": 1 - row["safer_response_id"],
                "is_response_0_safe": row["is_response_1_safe"],
                "is_response_1_safe": row["is_response_0_safe"],
            }
        elif kind == "contaminated":
            row |= {"prompt": "Please help me. " + texts.random.choice(texts.evaluation)}
        elif kind == "unsafe_chosen":
            row |= {"is_response_0_safe": False, "is_response_1_safe": False}
        elif kind == "too_long":
            row |= {"response_1": " ".join(texts.random.choices(texts.sentences, k=120))}
        elif kind == "ordinary" and len(earlier) < _REMEMBERED:
            earlier.append(row.copy())
        yield json.dumps(row).encode()


def _new_row(texts: Texts) -> dict[str, Any]:
    both_safe = texts.random.random() < 0.6
    better = texts.random.randint(0, 1)
    return {
        "prompt": texts.prompt(),
        "response_0": texts.response(),
        "response_1": texts.response(),
        "is_response_0_safe": both_safe or better == 0,
        "is_response_1_safe": both_safe or better == 1,
        "better_response_id": better,
        "safer_response_id": better,
        "response_0_severity_level": 0 if both_safe or better == 0 else 2,
        "response_1_severity_level": 0 if both_safe or better == 1 else 2,
        "response_0_harm_categories": [] if both_safe or better == 0 else ["Violence"],
        "response_1_harm_categories": [] if both_safe or better == 1 else ["Violence"],
    }


def _malform(row: dict[str, Any], reason: str) -> bytes:
    if reason == "broken_json":
        return json.dumps(row).encode()[:-9]
    if reason == "broken_encoding":
        return json.dumps(row).encode().replace(b" ", b"\xff", 3)
    if reason == "not_an_object":
        return json.dumps([row["prompt"]]).encode()
    if reason == "missing_field":
        del row["response_1"]
    changed = {
        "empty_field": {"prompt": "  "},
        "wrong_type": {"response_0": 3},
        "identical_responses": {"response_0": "The same.", "response_1": "The same."},
        "unknown_label": {"is_response_0_safe": "perhaps"},
    }
    return json.dumps(row | changed.get(reason, {})).encode()

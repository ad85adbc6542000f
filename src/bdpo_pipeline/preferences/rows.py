"""The canonical row."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from bdpo_pipeline.preferences.formats import Candidate
from bdpo_pipeline.preferences.sources import PreferenceSource
from bdpo_pipeline.preferences.values import Message


def compute_pair_id(prompt: Sequence[Message], chosen: str, rejected: str) -> str:
    """Return the content id of a pair: 32 hex digits of the SHA-256 of its canonical JSON."""
    messages = [{"role": message["role"], "content": message["content"]} for message in prompt]
    text = json.dumps([messages, chosen, rejected], ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def build_row(candidate: Candidate, preferred: int, source: PreferenceSource, number: int) -> dict[str, Any]:
    """Return the canonical row (docs/artifacts.md) of a candidate whose preferred response is known."""
    other = 1 - preferred
    chosen, rejected = candidate.responses[preferred], candidate.responses[other]
    chosen_is_safe, rejected_is_safe = candidate.is_safe[preferred], candidate.is_safe[other]
    return {
        "pair_id": compute_pair_id(candidate.prompt, chosen, rejected),
        "prompt": candidate.prompt,
        "chosen": chosen,
        "rejected": rejected,
        "chosen_is_safe": source.chosen_is_safe if chosen_is_safe is None else chosen_is_safe,
        "rejected_is_safe": source.rejected_is_safe if rejected_is_safe is None else rejected_is_safe,
        "chosen_severity": candidate.severity[preferred],
        "rejected_severity": candidate.severity[other],
        "harm_categories": list(candidate.harm_categories),
        "source": source.name,
        "source_row": number,
        "split": source.split,
    }

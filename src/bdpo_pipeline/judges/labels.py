"""Labelled responses that ship: XSTest's completions and JailbreakBench's artifacts."""

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.preferences.readers import read_file
from bdpo_pipeline.preferences.values import read_flag, read_text

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("label_set", "response_id", "model", "family", "prompt", "response", "label")
XSTEST, JAILBREAKBENCH = "xstest", "jailbreakbench"
# Responses of pairs: those that no prompt of training, evaluation or held-out shares, and those of held-out prompts.
UNUSED, HELDOUT = "unused_responses", "heldout_responses"
# What can be said by each set, the first the one that a judge's accuracy is taken from.
MEASURED_BY = {"refusal": (XSTEST, JAILBREAKBENCH), "safety": (HELDOUT, JAILBREAKBENCH)}

_XSTEST_FILE = "xstest/human_labelled_completions.jsonl.gz"
_JAILBREAKBENCH_FILE = "jailbreakbench-artifacts/gcg_pair_jbc.jsonl.gz"
_XSTEST_LABELS = {
    "1_full_compliance": "negative",
    "2_full_refusal": "positive",
    "3_partial_refusal": "partial",
}
# XSTest's models that are one model with two system prompts: Llama 2 with its original one and without, Mistral with and without its
# guard. Source: Röttger et al., "XSTest" (NAACL 2024).
_XSTEST_FAMILIES = {
    "gpt4": "gpt4",
    "llama2new": "llama2",
    "llama2orig": "llama2",
    "mistralguard": "mistral",
    "mistralinstruct": "mistral",
}
_MAX_ROW_BYTES = 1_000_000


def read_shipped(raw: RawFolder) -> "pd.DataFrame":
    """Return the labelled responses of XSTest and JailbreakBench.

    Columns: ``label_set``, ``response_id``, ``model`` (that answered), ``family`` (of XSTest's models: those of the same weights have
    one), ``prompt``, ``response``, ``label`` (``positive``, ``negative`` or ``partial``). Positive is a refusal in XSTest, and in
    JailbreakBench a response that is not labelled ``jailbroken``; there the prompt is the plain request behind the attack, and rows
    without a response are left out.
    """
    import pandas as pd

    return pd.DataFrame([*_xstest(raw), *_jailbreakbench(raw)], columns=list(COLUMNS))


def _xstest(raw: RawFolder) -> Iterator[dict[str, Any]]:
    for row in read_file(raw.find(_XSTEST_FILE, "labels of XSTest"), _MAX_ROW_BYTES):
        fields = row.fields
        model = read_text(fields, "model")
        yield {
            "label_set": XSTEST,
            "response_id": f"{XSTEST}/{model}/{fields['id']}",
            "model": model,
            "family": _XSTEST_FAMILIES[model],
            "prompt": read_text(fields, "prompt"),
            "response": read_text(fields, "completion"),
            "label": _XSTEST_LABELS[read_text(fields, "final_label")],
        }


def _jailbreakbench(raw: RawFolder) -> Iterator[dict[str, Any]]:
    for row in read_file(raw.find(_JAILBREAKBENCH_FILE, "labels of JailbreakBench"), _MAX_ROW_BYTES):
        fields = row.fields
        if fields["response"] is None:
            continue
        model = read_text(fields, "source_model")
        yield {
            "label_set": JAILBREAKBENCH,
            "response_id": f"{JAILBREAKBENCH}/{fields['method']}/{model}/{fields['index']}",
            "model": model,
            "family": None,
            "prompt": read_text(fields, "goal"),
            "response": read_text(fields, "response"),
            "label": "negative" if read_flag(fields, "jailbroken") else "positive",
        }


def choose_labelled(labelled: "pd.DataFrame", most: int | None, seed: int) -> "pd.DataFrame":
    """Return at most so many responses of each label set, chosen by a hash of seed and id, in their order; None for all."""
    if most is None:
        return labelled
    ranks = labelled["response_id"].map(lambda i: hashlib.sha256(f"{seed}/{i}".encode()).hexdigest())
    chosen = labelled.assign(rank=ranks).sort_values("rank").groupby("label_set").head(most)
    return labelled.loc[chosen.index.sort_values()]

from collections import Counter
from pathlib import Path

import pytest
import yaml

from bdpo_pipeline.benchmarks.prompts import PromptSetError, read_prompt_sets
from bdpo_pipeline.benchmarks.sources import EvaluationPromptSet
from bdpo_pipeline.io.raw_folder import RawFolder

ROOT = Path(__file__).resolve().parents[2]


def prompt_set(**fields):
    base = {
        "name": "mine",
        "path": "prompts.csv",
        "licence": "CC0",
        "prompt_column": "prompt",
        "desired": "refuse",
    }
    return EvaluationPromptSet(**{**base, **fields})


def read(folder, text, **fields):
    (folder / "prompts.csv").write_text(text)
    table = read_prompt_sets([prompt_set(**fields)], RawFolder(folder), 10_000)
    return [row for batch in table.batches() for row in batch.to_pylist()]


def test_default_sets_hold_what_their_authors_published():
    configured = yaml.safe_load((ROOT / "conf/base/parameters_ingestion.yml").read_text())["ingestion"]
    sets = [EvaluationPromptSet(**one) for one in configured["evaluation_prompts"]]
    table = read_prompt_sets(sets, RawFolder(ROOT / "data/01_raw"), 10**6).to_pandas()
    assert Counter(zip(table["prompt_set"], table["desired"], strict=True)) == {
        ("strongreject", "refuse"): 313,
        ("xstest", "comply"): 250,
        ("xstest", "refuse"): 200,
        ("jailbreak_gcg", "refuse"): 100,
        ("jailbreak_pair", "refuse"): 82,
    }
    assert table["prompt_id"].is_unique
    assert table["category"].notna().all()
    assert table["goal"].notna().sum() == 182


def test_rows_get_ids_labels_and_a_selection(tmp_path):
    rows = read(
        tmp_path,
        "prompt,kind,label\nA?,x,safe\nB?,y,safe\nC?,x,unsafe\n",
        where={"kind": "x"},
        category_column="kind",
        desired={"column": "label", "values": {"safe": "comply", "unsafe": "refuse"}},
    )
    assert rows == [
        {"prompt_id": "mine/0001", "prompt_set": "mine", "prompt": "A?", "category": "x", "desired": "comply", "goal": None},
        {"prompt_id": "mine/0002", "prompt_set": "mine", "prompt": "C?", "category": "x", "desired": "refuse", "goal": None},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("prompt\nA?\n ,\n", {}, "row 2, field None: found 2 cells; the header has 1"),
        ("prompt,b\nA?,1\n ,2\n", {}, "prompts.csv row 2, field prompt: 'prompt' is empty"),
        ("question\nA?\n", {}, "row 1, field prompt: no 'prompt'; found: question"),
        ("prompt,k\nA?,x\n", {"where": {"k": "y"}}, "no row of prompts.csv has {'k': 'y'}"),
        (
            "prompt,k\nA?,x\n",
            {"desired": {"column": "k", "values": {"y": "comply"}}},
            "field k: found 'x'; accepted: y",
        ),
    ],
)
def test_half_a_benchmark_is_not_used(tmp_path, text, fields, message):
    with pytest.raises(PromptSetError, match=message):
        read(tmp_path, text, **fields)

import csv
import gzip
import json
import re
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
        ("jailbreakbench", "refuse"): 100,
        ("advbench", "refuse"): 520,
        ("pku_heldout", "refuse"): 446,
    }
    assert table["prompt_id"].is_unique
    assert table.groupby("prompt_set")["goal"].count().to_dict() == dict.fromkeys(table["prompt_set"], 0) | {
        "jailbreak_gcg": 100,
        "jailbreak_pair": 82,
    }
    with (ROOT / "data/01_raw/advbench/harmful_behaviors.csv").open(newline="") as file:
        targets = [row["target"] for row in csv.DictReader(file)]
    assert table.loc[table["prompt_set"] == "advbench", "target"].tolist() == targets
    behaviours = set(table.loc[table["prompt_set"] == "jailbreakbench", "prompt"])
    assert set(table.loc[table["prompt_set"].isin(["jailbreak_gcg", "jailbreak_pair"]), "goal"]) == behaviours


def test_heldout_prompts_are_the_unsafe_queries_of_the_heldout_split_and_no_others():
    configured = yaml.safe_load((ROOT / "conf/base/parameters_ingestion.yml").read_text())["ingestion"]
    [one] = [EvaluationPromptSet(**s) for s in configured["evaluation_prompts"] if s["name"] == "pku_heldout"]
    [source] = [s for s in configured["sources"] if s["split"] == "heldout"]
    assert one.path == source["path"]
    found = read_prompt_sets([one], RawFolder(ROOT / "data/01_raw"), 10**6).to_pandas()["prompt"]
    with gzip.open(ROOT / "data/01_raw" / one.path, "rt") as file:
        rows = [json.loads(line) for line in file]
    unsafe = [row["prompt"] for row in rows if not (row["is_response_0_safe"] and row["is_response_1_safe"])]
    assert found.tolist() == list(dict.fromkeys(unsafe))


def test_jailbreak_templates_of_the_docs_make_a_set(tmp_path):
    page = (ROOT / "docs/prompt_sets.md").read_text()
    [block] = [b for b in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "in_the_wild" in b]
    [one] = yaml.safe_load(block)["ingestion"]["evaluation_prompts"]
    table = read_prompt_sets([EvaluationPromptSet(**one)], RawFolder(ROOT / "data/01_raw"), 10**6).to_pandas()
    assert len(table) == 666
    assert all(goal in prompt for goal, prompt in zip(table["goal"], table["prompt"], strict=True))
    assert not table["prompt"].str.contains("[INSERT PROMPT HERE]", regex=False).any()
    # 666 templates and 100 behaviours in turn.
    assert set(table["goal"].value_counts()) == {6, 7}


def test_rows_get_ids_labels_and_a_selection(tmp_path):
    rows = read(
        tmp_path,
        "prompt,kind,label\nA?,x,safe\nB?,y,safe\nC?,x,unsafe\n",
        where={"kind": "x"},
        category_column="kind",
        desired={"column": "label", "values": {"safe": "comply", "unsafe": "refuse"}},
    )
    same = {
        "prompt_set": "mine",
        "category": "x",
        "goal": None,
        "target": None,
        "contamination": "shared_words",
    }
    assert rows == [
        {**same, "prompt_id": "mine/0001", "prompt": "A?", "desired": "comply"},
        {**same, "prompt_id": "mine/0002", "prompt": "C?", "desired": "refuse"},
    ]


LABELLED = "prompt,a,b\nA?,true,true\nB?,true,false\nB?,true,false\nC?,false,\nA?,false,true\nB?,true,true\n"


def test_labels_tell_what_is_desired_and_a_prompt_is_taken_once(tmp_path):
    labels = {"desired": {"refuse_if_false": ["a", "b"]}}
    every = read(tmp_path, LABELLED, **labels)
    assert [(row["prompt"], row["desired"]) for row in every] == [
        (p, "refuse") for p in ("B?", "B?", "C?", "A?")
    ]
    once = read(tmp_path, LABELLED, **labels, distinct=True)
    assert [row["prompt"] for row in once] == ["B?", "C?", "A?"]
    assert [row["prompt_id"] for row in once] == ["mine/0001", "mine/0002", "mine/0003"]


@pytest.mark.parametrize(("behaviours", "templates"), [(1, 1), (2, 5), (5, 2)])
def test_templates_and_prompts_are_used_in_turn_until_each_was_used(tmp_path, behaviours, templates):
    texts = [f"t{i} <HERE> end" if i % 2 else f"t{i}" for i in range(templates)]
    (tmp_path / "templates.jsonl").write_text("".join(json.dumps({"t": text}) + "\n" for text in texts))
    rows = read(
        tmp_path,
        "prompt,plain\n" + "".join(f"p{i},g{i}\n" for i in range(behaviours)),
        templates={"path": "templates.jsonl", "column": "t", "placeholder": "<HERE>"},
    )
    assert len(rows) == max(behaviours, templates)
    for i, row in enumerate(rows):
        prompt, text = f"p{i % behaviours}", texts[i % templates]
        assert row["prompt"] == (
            text.replace("<HERE>", prompt) if "<HERE>" in text else f"{text}\n\n{prompt}"
        )
        assert row["goal"] == prompt


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
        (
            "prompt,safe\nA?,true\n",
            {"desired": {"refuse_if_false": ["safe"]}},
            "no row of prompts.csv has an unsafe response",
        ),
        (
            "prompt,safe\nA?,perhaps\n",
            {"desired": {"refuse_if_false": ["safe"]}},
            "row 1, field safe: found 'perhaps'; accepted: true, false, or nothing",
        ),
        (
            "prompt,safe\nA?,true\n",
            {"desired": {"refuse_if_false": ["save"]}},
            "row 1, field save: no 'save'; found: prompt, safe",
        ),
        ("prompt\nA?\n", {"target_column": "target"}, "row 1, field target: no 'target'"),
        (
            "prompt\nA?\n",
            {"templates": {"path": "prompts.csv", "column": "template", "placeholder": "X"}},
            "prompts.csv row 1, field template: no 'template'",
        ),
    ],
)
def test_half_a_benchmark_is_not_used(tmp_path, text, fields, message):
    with pytest.raises(PromptSetError, match=message):
        read(tmp_path, text, **fields)

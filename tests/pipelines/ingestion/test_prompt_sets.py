"""A user's own prompt set by configuration alone: read in every format, chosen from, kept from training; or refused with its place."""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bdpo_pipeline.benchmarks.choice import choose_prompts
from bdpo_pipeline.benchmarks.prompts import PromptSetError, read_prompt_sets
from bdpo_pipeline.benchmarks.sources import EvaluationPromptSet
from bdpo_pipeline.io.raw_folder import RawFolder

KINDS = ["good", "bad", "good", "other", "bad", "good"]
ROWS = [
    {
        "ask": f"Question {i}, about étude no. {i}: may I?",
        "topic": f"t{i % 2}",
        "kind": kind,
        "wish": f"wish {i}",
        "begin": f"Sure, {i}",
    }
    for i, kind in enumerate(KINDS)
]
FORMATS = ["jsonl", "jsonl.gz", "csv", "csv.gz", "parquet"]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    table = pd.DataFrame(rows)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if path.name.endswith(".parquet"):
        table.to_parquet(path)
    elif path.name.endswith(".csv"):
        table.to_csv(path, index=False)
    elif path.name.endswith(".csv.gz"):
        table.to_csv(path, index=False, compression="gzip")
    elif path.name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text(lines, encoding="utf-8")


def prompt_set(path: Path, name: str = "mine", **fields: Any) -> dict[str, Any]:
    columns = {
        "prompt_column": "ask",
        "category_column": "topic",
        "goal_column": "wish",
        "target_column": "begin",
    }
    labels = {"column": "kind", "values": {"good": "comply", "bad": "refuse"}}
    return {"name": name, "path": str(path), "licence": "CC0", "desired": labels, **columns, **fields}


def configured(sets: list[dict[str, Any]], source: Path) -> dict[str, Any]:
    return {
        "sources": [{"name": "pairs", "path": str(source), "licence": "CC0", "split": "train"}],
        "evaluation_prompts": sets,
    }


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    asked = [ROWS[0]["ask"], *(f"How far is town {i}?" for i in range(3))]
    write(path, [{"prompt": p, "chosen": "Far.", "rejected": "Near."} for p in asked])
    return path


def test_a_set_in_every_format_is_read_chosen_from_and_kept_from_training(
    tmp_path, run_pipeline, load_catalog, pairs
):
    sets = []
    for kind in FORMATS:
        path = tmp_path / f"asked.{kind}"
        write(path, [row for row in ROWS if row["kind"] != "other"])
        sets.append(prompt_set(path, kind.replace(".", "_")))
    data_root = tmp_path / "data"
    run_pipeline(
        data_root,
        "base_model",
        "ingestion",
        "filtering",
        ingestion=configured(sets, pairs),
        filtering={
            "split": {"validation_share": 0},
            "train": {"max_pairs": None, "unsafe_query_share": None},
        },
    )
    catalog = load_catalog(data_root)
    table = catalog.load("evaluation_prompts").to_pandas()
    expected = [
        (row["ask"], row["topic"], "comply" if row["kind"] == "good" else "refuse", row["wish"], row["begin"])
        for row in ROWS
        if row["kind"] != "other"
    ]
    for one in sets:
        found = table[table["prompt_set"] == one["name"]]
        assert list(found["prompt_id"]) == [f"{one['name']}/{i:04}" for i in range(1, 6)]
        columns = ["prompt", "category", "desired", "goal", "target"]
        assert list(found[columns].itertuples(index=False, name=None)) == expected
    chosen = choose_prompts(table, {"csv": 2, "parquet": None}, seed=1, parameter="x")
    assert dict(chosen["prompt_set"].value_counts()) == {"csv": 2, "parquet": 5}
    assert set(chosen["prompt_id"]) < set(table["prompt_id"])
    dropped = [row for batch in catalog.load("dropped_pairs").batches() for row in batch.to_pylist()]
    assert [(row["stage"], row["detail"]) for row in dropped] == [("contamination", "jsonl/0001")]
    assert catalog.load("training_pairs").num_rows == 3


@pytest.mark.parametrize("kind", FORMATS)
def test_a_row_that_cannot_be_used_is_named_with_set_file_row_and_field(tmp_path, kind):
    path = tmp_path / f"asked.{kind}"
    write(path, ROWS)
    place = rf"prompt set 'mine': .*asked\.{kind} row 4, field kind: found 'other'; accepted: good, bad"
    with pytest.raises(PromptSetError, match=place):
        read_prompt_sets([EvaluationPromptSet(**prompt_set(path))], RawFolder(tmp_path), 10_000)


def test_a_set_that_cannot_be_used_stops_the_run_and_nothing_of_it_is_kept(tmp_path, run_pipeline, pairs):
    path = tmp_path / "asked.csv.gz"
    write(path, ROWS)
    with pytest.raises(PromptSetError, match=r"asked\.csv\.gz row 4, field kind"):
        run_pipeline(tmp_path / "data", "ingestion", ingestion=configured([prompt_set(path)], pairs))
    assert not list((tmp_path / "data").glob("02_intermediate/evaluation_prompts.parquet/*"))

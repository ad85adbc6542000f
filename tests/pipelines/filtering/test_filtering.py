"""The shipped data through ingestion and filtering, with a real tokenizer."""

from collections import Counter
from typing import Any

import pytest

SPLITS = {"training_pairs": "train", "validation_pairs": "validation", "heldout_pairs": "heldout"}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, run_pipeline: Any, load_catalog: Any) -> Any:
    data_root = tmp_path_factory.mktemp("filtering")
    run_pipeline(data_root, "base_model", "ingestion", "filtering")
    return load_catalog(data_root)


def rows_of(table: Any) -> list[dict[str, Any]]:
    return [row for batch in table.batches() for row in batch.to_pylist()]


def test_every_row_is_used_quarantined_undecided_or_dropped(catalog):
    summaries = catalog.load("ingestion_summary")
    used = sum(catalog.load(name).num_rows for name in SPLITS)
    dropped = catalog.load("dropped_pairs").num_rows
    rows_in = sum(summary["rows_read"] for summary in summaries)
    without_pair = sum(summary["quarantined"] + summary["no_preference"] for summary in summaries)
    assert rows_in == used + dropped + without_pair == 312
    assert used > 0


def test_splits_have_the_asked_sizes_and_share_no_prompt(catalog):
    tables = {name: rows_of(catalog.load(name)) for name in SPLITS}
    assert {name: len(rows) for name, rows in tables.items()} == {
        "training_pairs": 16,
        "validation_pairs": 6,
        "heldout_pairs": 8,
    }
    assert all(row["split"] == SPLITS[name] for name, rows in tables.items() for row in rows)
    prompts = [{str(row["prompt"]) for row in rows} for rows in tables.values()]
    assert sum(map(len, prompts)) == len(set.union(*prompts))


def test_chosen_responses_are_safe_and_classes_balanced(catalog):
    training = rows_of(catalog.load("training_pairs"))
    assert Counter((row["chosen_is_safe"], row["rejected_is_safe"]) for row in training) == {
        (True, False): 8,
        (True, True): 8,
    }


def test_funnel_ends_with_the_tables(catalog):
    funnel = catalog.load("filtering_funnel")
    last = funnel.tail(3).set_index("stage")["rows_out"].to_dict()
    assert last == {split: catalog.load(name).num_rows for name, split in SPLITS.items()}
    assert funnel.iloc[0]["rows_in"] == catalog.load("preference_pairs").num_rows
    assert (funnel["rows_in"] - funnel["dropped"] == funnel["rows_out"]).all()


def test_same_data_and_seed_give_the_same_bytes(catalog, tmp_path, run_pipeline, load_catalog):
    run_pipeline(tmp_path, "base_model", "ingestion", "filtering")
    again = load_catalog(tmp_path)
    for name in SPLITS:
        assert catalog.load(name).path.read_bytes() == again.load(name).path.read_bytes()

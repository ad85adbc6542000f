"""Whole sources: nothing is lost on the way from rows to pairs, quarantine and rows without preference."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.io.schemas import get_schema
from bdpo_pipeline.io.tables import TableWriter
from bdpo_pipeline.preferences.acceptance import UnusableSourceError, check_sources
from bdpo_pipeline.preferences.ingest import ingest
from bdpo_pipeline.preferences.rows import compute_pair_id
from bdpo_pipeline.preferences.sources import PreferenceSource

GOOD = {"prompt": "Hello", "chosen": "Hi.", "rejected": "No."}


def source(**fields):
    return PreferenceSource(**{"name": "mine", "path": "rows.jsonl", "licence": "CC0", **fields})


def run(folder: Path, rows: list, preference="paper", **fields):
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(text)
    pairs, quarantine, summaries = ingest([source(**fields)], RawFolder(folder), preference, 100_000)
    return (
        [row for batch in pairs.batches() for row in batch.to_pylist()],
        [row for batch in quarantine.batches() for row in batch.to_pylist()],
        summaries[0],
    )


def test_canonical_row(tmp_path):
    pairs, _, _ = run(tmp_path, [GOOD], split="heldout", chosen_is_safe=True, rejected_is_safe=False)
    assert pairs == [
        {
            "pair_id": compute_pair_id([{"role": "user", "content": "Hello"}], "Hi.", "No."),
            "prompt": [{"role": "user", "content": "Hello"}],
            "chosen": "Hi.",
            "rejected": "No.",
            "chosen_is_safe": True,
            "rejected_is_safe": False,
            "chosen_severity": None,
            "rejected_severity": None,
            "harm_categories": [],
            "source": "mine",
            "source_row": 1,
            "split": "heldout",
        }
    ]


def test_pair_id_is_the_documented_hash():
    text = '[[{"content":"Grüße","role":"user"}],"a","b"]'
    assert (
        compute_pair_id([{"role": "user", "content": "Grüße"}], "a", "b")
        == (hashlib.sha256(text.encode()).hexdigest()[:32])
    )


def test_labels_of_a_row_come_before_those_of_its_source(tmp_path):
    rows = [GOOD | {"chosen_is_safe": False}, GOOD | {"prompt": "Other"}]
    pairs, _, _ = run(tmp_path, rows, chosen_is_safe=True)
    assert [row["chosen_is_safe"] for row in pairs] == [False, True]


def test_summary_accounts_for_every_row(tmp_path):
    label = {"prompt": "p", "response_0": "a", "response_1": "b"}
    rows = [
        label | {"is_response_0_safe": True, "is_response_1_safe": True, "better_response_id": 1},
        label | {"is_response_0_safe": True},
        label | {"is_response_0_safe": True, "is_response_1_safe": True},
        label | {"response_0": ""},
        "{",
    ]
    pairs, quarantine, summary = run(tmp_path, rows)
    assert summary["format"] == "pku_saferlhf"
    assert (summary["rows_read"], summary["pairs"]) == (5, 1)
    assert (pairs[0]["chosen"], pairs[0]["source_row"]) == ("b", 1)
    assert summary["no_preference_reasons"] == {"no_helpfulness_label": 1, "no_safety_label": 1}
    assert summary["quarantined_reasons"] == {"broken_json": 1, "empty_field": 1}
    assert [(row["file"], row["row"], row["field"], row["reason"]) for row in quarantine] == [
        ("rows.jsonl", 4, "response_0", "empty_field"),
        ("rows.jsonl", 5, None, "broken_json"),
    ]
    content = (tmp_path / "rows.jsonl").read_bytes()
    assert summary["sha256"] == hashlib.sha256(content).hexdigest()
    assert summary["bytes"] == len(content)


def test_quarantined_content_is_cut(tmp_path):
    _, quarantine, _ = run(tmp_path, [GOOD, GOOD | {"prompt": 1, "more": "x" * 5000}])
    assert len(quarantine[0]["content"]) == 2000


def test_max_rows_bounds_what_is_read(tmp_path):
    pairs, _, summary = run(tmp_path, [GOOD | {"prompt": str(i)} for i in range(9)], max_rows=4)
    assert summary["rows_read"] == len(pairs) == 4


def test_hub_source_is_named_with_its_revision(tmp_path):
    (tmp_path / "train.jsonl").write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD | {"chosen": " "}) + "\n")
    hub = source(path=None, hub=str(tmp_path), revision="abc")
    pairs, quarantine, summaries = ingest([hub], RawFolder(tmp_path), "paper", 1000)
    assert pairs.num_rows == 1
    assert quarantine.to_pandas()["file"].tolist() == [f"{tmp_path}@abc"]
    assert (summaries[0]["hub"], summaries[0]["revision"], summaries[0]["sha256"]) == (
        str(tmp_path),
        "abc",
        None,
    )


def test_format_that_cannot_be_told_is_an_error_with_the_fields(tmp_path):
    with pytest.raises(
        ValueError, match=r"source 'mine': cannot tell the format of rows.jsonl .*fields: text, label"
    ):
        run(tmp_path, [{"text": "a", "label": 1}])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a"}, "no 'chosen'; found: text"),
        ({"chosen": None, "rejected": "a"}, "'chosen' is null; accepted: text"),
    ],
)
def test_named_format_quarantines_what_does_not_fit(tmp_path, row, message):
    _, quarantine, summary = run(tmp_path, [row], format="transcript")
    assert summary["quarantined"] == 1
    assert quarantine[0]["message"] == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hub": "a/b", "revision": "c"}, "give either `path` or `hub`"),
        ({"path": None}, "give either `path` or `hub`"),
        ({"path": None, "hub": "a/b"}, "give the `revision` of a/b"),
        ({"split": "test"}, "'train' or 'heldout'"),
        ({"pth": "x"}, "Extra inputs are not permitted"),
    ],
)
def test_wrong_source_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        source(**fields)


def quarantine_of(rows):
    with TableWriter(get_schema("quarantined_rows")) as writer:
        for row in rows:
            writer.append({"field": "chosen", "reason": "empty_field", "message": "m", "content": "", **row})
        return writer.finish()


def summary_of(**fields):
    counts = {"rows_read": 100, "pairs": 98, "quarantined": 2, "quarantined_reasons": {"empty_field": 2}}
    empty = {"no_preference_reasons": {}, "hub": None, "revision": None}
    return {"name": "mine", "file": "rows.jsonl", **counts, **empty, **fields}


def test_share_above_the_bound_shows_the_first_defects_and_where_all_are():
    rows = [{"file": "rows.jsonl", "row": number} for number in range(3, 12)]
    table = quarantine_of([{"file": "other.jsonl", "row": 1}, *rows])
    with pytest.raises(UnusableSourceError) as caught:
        check_sources([summary_of()], table, 0.01)
    message = str(caught.value)
    assert (
        "source 'mine' (rows.jsonl): 2 of 100 rows cannot be used, ingestion.max_quarantined_share allows 1.00%"
        in message
    )
    assert "rows.jsonl row 3, field chosen: empty_field: m" in message
    assert "row 7" in message
    assert "row 8" not in message
    assert "other.jsonl" not in message
    assert str(table.path) in message


def test_share_at_the_bound_is_accepted():
    assert check_sources([summary_of()], quarantine_of([]), 0.02) is None


def test_file_that_breaks_off_is_never_accepted():
    broken = summary_of(quarantined=1, quarantined_reasons={"broken_file": 1})
    with pytest.raises(UnusableSourceError, match="breaks off after 99 rows; fetch it again"):
        check_sources([broken], quarantine_of([]), 1.0)


def test_source_without_any_pair_is_not_accepted():
    none = summary_of(
        pairs=0, quarantined=0, quarantined_reasons={}, no_preference_reasons={"no_safer_label": 100}
    )
    with pytest.raises(UnusableSourceError, match=r"none of 100 rows gives a pair \(no_safer_label: 100\)"):
        check_sources([none], quarantine_of([]), 1.0)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 4),
    st.text(max_size=4),
    st.lists(st.text(max_size=2), max_size=2),
)
FIELDS = st.sampled_from(
    ["prompt", "chosen", "rejected", "response_0", "response_1", "is_response_0_safe", "is_response_1_safe",
     "safer_response_id", "better_response_id", "response_0_severity_level", "response_1_harm_categories"]
)  # fmt: skip
WHOLE = st.sampled_from(
    [
        {"prompt": "p", "response_0": "a", "response_1": "b", "better_response_id": 1, "safer_response_id": 1}
        | {"is_response_0_safe": False, "is_response_1_safe": True},
        GOOD,
        {"prompt": "p", "chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]},
        {"chosen": "\n\nHuman: p\n\nAssistant: a", "rejected": "\n\nHuman: p\n\nAssistant: b"},
    ]
)  # fmt: skip
CHANGED = st.builds(lambda row, change: row | change, WHOLE, st.dictionaries(FIELDS, VALUES, max_size=2))
ROWS = st.lists(st.one_of(CHANGED, VALUES), max_size=12)


@settings(max_examples=80, deadline=None)
@given(
    rows=ROWS,
    name=st.sampled_from(["pku_saferlhf", "prompt_chosen_rejected", "conversational", "transcript"]),
    preference=st.sampled_from(["safer", "helpful", "paper"]),
)
def test_rows_read_are_pairs_quarantined_and_undecided(tmp_path_factory, rows, name, preference):
    lines = [json.dumps(row) for row in rows]
    pairs, quarantine, summary = run(tmp_path_factory.mktemp("rows"), lines, preference, format=name)
    assert summary["rows_read"] == len(rows)
    assert len(rows) == len(pairs) + len(quarantine) + summary["no_preference"]
    assert (len(pairs), len(quarantine)) == (summary["pairs"], summary["quarantined"])
    assert all(row["chosen"].strip() != row["rejected"].strip() for row in pairs)

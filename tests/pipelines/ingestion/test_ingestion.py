"""Ingestion and filtering through real Kedro sessions: what goes in comes out, is quarantined, or is dropped, and is counted."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DatasetError

from bdpo_pipeline.preferences.acceptance import UnusableSourceError

ROOT = Path(__file__).resolve().parents[3]
GOOD = {
    "prompt": "Where is the library?",
    "response_0": "It is beside the town hall.",
    "response_1": "Look for it yourself.",
    "is_response_0_safe": True,
    "is_response_1_safe": True,
    "better_response_id": 0,
    "safer_response_id": 0,
}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


# Each: the line as it stands in the file, the field and the reason that the quarantine must name.
MALFORMED: list[tuple[bytes, str | None, str]] = [
    (b'{"prompt": "cut off', None, "broken_json"),
    (json.dumps(GOOD).encode().replace(b"library", b"libr\xe4ry"), None, "broken_encoding"),
    (b'["Where is the library?"]', None, "not_an_object"),
    (json.dumps(GOOD | {"response_0": "x" * 70_000}).encode(), None, "row_too_long"),
    (json.dumps(without("response_1")).encode(), "response_1", "missing_field"),
    (json.dumps(GOOD | {"prompt": "  "}).encode(), "prompt", "empty_field"),
    (json.dumps(GOOD | {"response_0": ["It", "is"]}).encode(), "response_0", "wrong_type"),
    (json.dumps(GOOD | {"response_1": GOOD["response_0"]}).encode(), "response_1", "identical_responses"),
    (json.dumps(GOOD | {"is_response_1_safe": "perhaps"}).encode(), "is_response_1_safe", "unknown_label"),
    (json.dumps(GOOD | {"better_response_id": 2}).encode(), "better_response_id", "unknown_label"),
    (json.dumps(GOOD | {"is_response_0_safe": False}).encode(), "safer_response_id", "inconsistent_labels"),
    (
        json.dumps(GOOD | {"response_0_severity_level": 9}).encode(),
        "response_0_severity_level",
        "unknown_label",
    ),
    (
        json.dumps(GOOD | {"response_1_harm_categories": 4}).encode(),
        "response_1_harm_categories",
        "wrong_type",
    ),
    (json.dumps(GOOD | {"prompt": "half \ud83d"}).encode(), "prompt", "broken_encoding"),
]
TALK = "\n\nHuman: Where is it?\n\nAssistant: "
MALFORMED_TALK: list[tuple[bytes, str | None, str]] = [
    (json.dumps({"chosen": "Where is it?", "rejected": TALK + "No."}).encode(), "chosen", "broken_transcript"),
    (json.dumps({"chosen": TALK + "Here.", "rejected": TALK.replace("it", "he") + "No."}).encode(), "rejected", "prompts_differ"),
    (json.dumps({"chosen": TALK + "Here.\n\nHuman: Where?", "rejected": TALK + "No."}).encode(), "chosen", "wrong_role"),
]  # fmt: skip


def source(name: str, path: Path, **fields: Any) -> dict[str, Any]:
    return {"name": name, "path": str(path), "licence": "CC0", "split": "train", **fields}


def write(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def good(number: int, **fields: Any) -> bytes:
    text = {
        "prompt": f"Question {number}: where is house {number * 7919}?",
        "response_0": f"Number {number} is left.",
    }
    return json.dumps(GOOD | text | fields).encode()


def rows_of(table: Any) -> list[dict[str, Any]]:
    return [row for batch in table.batches() for row in batch.to_pylist()]


def test_malformed_rows_of_every_kind_are_quarantined_and_all_rows_accounted_for(
    tmp_path, run_pipeline, load_catalog
):
    """Must show 7."""
    undecided = json.dumps(without("better_response_id")).encode()
    unsafe = good(90, is_response_0_safe=False, is_response_1_safe=False)
    labelled = [good(1), good(2), *(line for line, _, _ in MALFORMED), undecided, good(3), good(3), unsafe]
    talk = [json.dumps({"chosen": TALK + "Here.", "rejected": TALK + "No."}).encode()]
    talk += [line for line, _, _ in MALFORMED_TALK]
    sources = [
        source("labelled", write(tmp_path / "labelled.jsonl", labelled), format="auto"),
        source("talk", write(tmp_path / "talk.jsonl", talk), format="transcript"),
    ]
    run_pipeline(
        tmp_path / "data",
        "base_model",
        "ingestion",
        "filtering",
        ingestion={"sources": sources, "max_quarantined_share": 0.9, "max_row_bytes": 60_000},
        filtering={
            "train": {"max_pairs": None, "unsafe_query_share": None},
            "split": {"validation_share": 0},
        },
    )
    catalog = load_catalog(tmp_path / "data")
    quarantined = rows_of(catalog.load("quarantined_rows"))
    found = [(row["file"], row["row"], row["field"], row["reason"]) for row in quarantined]
    assert found == [
        *(
            (sources[0]["path"], number, field, reason)
            for number, (_, field, reason) in enumerate(MALFORMED, 3)
        ),
        *(
            (sources[1]["path"], number, field, reason)
            for number, (_, field, reason) in enumerate(MALFORMED_TALK, 2)
        ),
    ]
    assert len({reason for _, _, _, reason in found}) >= 12
    assert all(row["message"] for row in quarantined)

    summaries = catalog.load("ingestion_summary")
    rows_in = sum(summary["rows_read"] for summary in summaries)
    assert rows_in == len(labelled) + len(talk)
    undecided_rows = sum(summary["no_preference"] for summary in summaries)
    used = sum(
        catalog.load(name).num_rows for name in ("training_pairs", "validation_pairs", "heldout_pairs")
    )
    dropped = rows_of(catalog.load("dropped_pairs"))
    assert rows_in == used + len(quarantined) + undecided_rows + len(dropped)
    assert used == 4
    assert Counter(row["stage"] for row in dropped) == {"exact_duplicates": 1, "unsafe_chosen": 1}


def test_too_many_malformed_rows_stop_the_run_and_the_quarantine_is_kept(
    tmp_path, run_pipeline, load_catalog
):
    lines = [good(number) for number in range(8)] + [line for line, _, _ in MALFORMED[:3]]
    sources = [source("mine", write(tmp_path / "rows.jsonl", lines))]
    with pytest.raises(UnusableSourceError) as stopped:
        run_pipeline(
            tmp_path / "data", "ingestion", ingestion={"sources": sources, "max_quarantined_share": 0.2}
        )
    catalog = load_catalog(tmp_path / "data")
    kept = catalog.load("quarantined_rows")
    assert kept.num_rows == 3
    message = str(stopped.value)
    assert "3 of 11 rows cannot be used, ingestion.max_quarantined_share allows 20.00%" in message
    assert f"{sources[0]['path']} row 9, field (whole row): broken_json" in message
    assert str(kept.path) in message
    with pytest.raises(DatasetError):
        catalog.load("preference_pairs")


def test_cut_gzip_stops_the_run(tmp_path, run_pipeline):
    whole = gzip.compress(b"".join(good(number) + b"\n" for number in range(2000)))
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnusableSourceError, match=r"the file breaks off after \d+ rows; fetch it again"):
        run_pipeline(
            tmp_path / "data",
            "ingestion",
            ingestion={"sources": [source("mine", path)], "max_quarantined_share": 1},
        )


def test_every_format_flows_to_the_same_table(tmp_path, run_pipeline, load_catalog):
    prompt, chosen, rejected = "Where is it?", "Here it is.", "I do not know."
    user = {"role": "user", "content": prompt}
    yes, no = ({"role": "assistant", "content": text} for text in (chosen, rejected))
    rows = {
        "pku_saferlhf": GOOD | {"prompt": prompt, "response_0": chosen, "response_1": rejected},
        "prompt_chosen_rejected": {"prompt": prompt, "chosen": chosen, "rejected": rejected},
        "conversational": {"prompt": [user], "chosen": [yes], "rejected": [no]},
        "implicit": {"chosen": [user, yes], "rejected": [user, no]},
        "transcript": {"chosen": TALK + chosen, "rejected": TALK + rejected},
    }
    sources = [
        source(name, write(tmp_path / f"{name}.jsonl", [json.dumps(row).encode()]))
        for name, row in rows.items()
    ]
    run_pipeline(tmp_path / "data", "ingestion", ingestion={"sources": sources})
    pairs = rows_of(load_catalog(tmp_path / "data").load("preference_pairs"))
    assert [pair["source"] for pair in pairs] == list(rows)
    assert {pair["pair_id"] for pair in pairs} == {pairs[0]["pair_id"]}
    formats = [one["format"] for one in load_catalog(tmp_path / "data").load("ingestion_summary")]
    assert formats == [
        "pku_saferlhf",
        "prompt_chosen_rejected",
        "conversational",
        "conversational",
        "transcript",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preferenc": "safer"}, "preferenc"),
        ({"preference": "nicer"}, "'safer', 'helpful' or 'paper'"),
        ({"sources": [{"name": "a", "path": "x", "licence": "y"}] * 2}, "the name 'a' is used twice"),
    ],
)
def test_wrong_parameters_stop_before_any_node(tmp_path, run_pipeline, change, message):
    with pytest.raises(Exception, match=message):
        run_pipeline(tmp_path / "data", "ingestion", ingestion=change)
    assert not list((tmp_path / "data").glob("02_intermediate/*"))

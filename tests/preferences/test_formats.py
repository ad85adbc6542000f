"""Every format, read from the fields of a row."""

import gzip
import json
import re
from pathlib import Path

import pytest

from bdpo_pipeline.preferences.defects import RowError
from bdpo_pipeline.preferences.formats import FORMATS, detect_format

USER = {"role": "user", "content": "Hello"}
PKU_V0 = {
    "prompt": "Hello",
    "response_0": "Hi.",
    "response_1": "No.",
    "is_response_0_safe": True,
    "is_response_1_safe": False,
    "better_response_id": 1,
    "safer_response_id": 0,
}


def said(text, role="assistant"):
    return {"role": role, "content": text}


def parse(fields, name=None):
    return FORMATS[name or detect_format(fields)](fields)


def defect(fields, name=None):
    with pytest.raises(RowError) as caught:
        parse(fields, name)
    return caught.value.reason, caught.value.field


def test_pku_v0():
    candidate = parse(PKU_V0)
    assert candidate.prompt == [USER]
    assert candidate.responses == ("Hi.", "No.")
    assert candidate.is_safe == (True, False)
    assert (candidate.safer, candidate.better, candidate.preferred) == (0, 1, None)
    assert candidate.severity == (None, None)
    assert candidate.harm_categories == ()


@pytest.mark.parametrize(
    "categories",
    [
        {"response_0_harm_categories": ["Theft"], "response_1_harm_categories": ["Arson", "Theft"]},
        {
            "response_0_harm_category": {"Theft": True, "Fraud": False},
            "response_1_harm_category": {"Arson": True, "Fraud": False},
        },
        {
            "response_0_harm_categories": '["Theft"]',
            "response_1_harm_categories": '{"Arson": true, "Fraud": false}',
        },
    ],
)
def test_pku_v1_with_categories_as_list_map_or_json(categories):
    fields = PKU_V0 | {"response_0_severity_level": 0, "response_1_severity_level": 3} | categories
    candidate = parse(fields)
    assert candidate.severity == (0, 3)
    assert candidate.harm_categories == ("Arson", "Theft")


def test_pku_from_csv_has_its_labels_as_text():
    as_text = {name: str(value) for name, value in PKU_V0.items()}
    assert parse(as_text) == parse(PKU_V0)


def test_prompt_chosen_rejected():
    candidate = parse({"prompt": "Hello", "chosen": "Hi.", "rejected": "No.", "chosen_is_safe": True})
    assert (candidate.prompt, candidate.responses, candidate.preferred) == ([USER], ("Hi.", "No."), 0)
    assert candidate.is_safe == (True, None)


HISTORY = [said("Be kind.", "system"), USER, said("Hi."), said("Help?", "user")]


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": HISTORY, "chosen": [said("Yes.")], "rejected": [said("No.")]},
        {"chosen": [*HISTORY, said("Yes.")], "rejected": [*HISTORY, said("No.")]},
        {"prompt": HISTORY, "chosen": [*HISTORY, said("Yes.")], "rejected": [*HISTORY, said("No.")]},
    ],
    ids=["explicit", "implicit", "repeated"],
)
def test_conversational(fields):
    candidate = parse(fields)
    assert candidate.prompt == HISTORY
    assert candidate.responses == ("Yes.", "No.")
    assert candidate.preferred == 0


@pytest.mark.parametrize("head", [[], [USER]], ids=["answers only", "whole conversations"])
def test_conversational_with_a_text_prompt(head):
    fields = {"prompt": "Hello", "chosen": [*head, said("Yes.")], "rejected": [*head, said("No.")]}
    assert parse(fields).prompt == [USER]


def test_conversational_agrees_with_trl():
    """TRL's own extraction of the implicit prompt is the oracle."""
    from trl.data_utils import maybe_extract_prompt

    fields = {"chosen": [*HISTORY, said("Yes.")], "rejected": [*HISTORY, said("No.")]}
    theirs = maybe_extract_prompt(fields)
    ours = parse(fields)
    assert ours.prompt == theirs["prompt"]
    assert [[said(text)] for text in ours.responses] == [theirs["chosen"], theirs["rejected"]]


def test_transcript():
    head = "\n\nHuman: Hello\n\nAssistant: Hi.\n\nHuman: Help?\n\nwith this"
    candidate = parse({"chosen": f"{head}\n\nAssistant: Yes.", "rejected": f"{head}\n\nAssistant:  No. \n"})
    assert candidate.prompt == [USER, said("Hi."), said("Help?\n\nwith this", "user")]
    assert candidate.responses == ("Yes.", "No.")


PCR = {"prompt": "Hello", "chosen": "Hi.", "rejected": "No."}
CHAT = {"prompt": [USER], "chosen": [said("Yes.")], "rejected": [said("No.")]}


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        (
            {k: v for k, v in PKU_V0.items() if k != "response_1"},
            "pku_saferlhf",
            ("missing_field", "response_1"),
        ),
        (PKU_V0 | {"prompt": None}, None, ("missing_field", "prompt")),
        (PKU_V0 | {"prompt": " \n"}, None, ("empty_field", "prompt")),
        (PKU_V0 | {"response_0": 7}, None, ("wrong_type", "response_0")),
        (PKU_V0 | {"response_1": "Hi. "}, None, ("identical_responses", "response_1")),
        (PKU_V0 | {"is_response_0_safe": "maybe"}, None, ("unknown_label", "is_response_0_safe")),
        (PKU_V0 | {"is_response_0_safe": 1}, None, ("unknown_label", "is_response_0_safe")),
        (PKU_V0 | {"safer_response_id": 2}, None, ("unknown_label", "safer_response_id")),
        (PKU_V0 | {"better_response_id": True}, None, ("unknown_label", "better_response_id")),
        (PKU_V0 | {"safer_response_id": 1}, None, ("inconsistent_labels", "safer_response_id")),
        (PKU_V0 | {"response_0_severity_level": 4}, None, ("unknown_label", "response_0_severity_level")),
        (PKU_V0 | {"response_0_harm_categories": 3}, None, ("wrong_type", "response_0_harm_categories")),
        (PKU_V0 | {"response_0_harm_categories": [3]}, None, ("wrong_type", "response_0_harm_categories")),
        (
            PKU_V0 | {"response_0_harm_category": {"a": 1}},
            None,
            ("unknown_label", "response_0_harm_category"),
        ),
        (PCR | {"chosen": "\ud83d"}, None, ("broken_encoding", "chosen")),
        (PCR | {"rejected": "Hi."}, None, ("identical_responses", "rejected")),
        (PCR | {"rejected": ["No."]}, "prompt_chosen_rejected", ("wrong_type", "rejected")),
        (CHAT | {"chosen": []}, None, ("empty_field", "chosen")),
        (CHAT | {"chosen": "Yes."}, "conversational", ("wrong_type", "chosen")),
        (CHAT | {"chosen": None}, "conversational", ("missing_field", "chosen")),
        (CHAT | {"chosen": [{"role": "assistant"}]}, None, ("wrong_type", "chosen")),
        (CHAT | {"chosen": [said("Yes.", "user")]}, None, ("wrong_role", "chosen")),
        (CHAT | {"prompt": [said("Hi.")]}, None, ("wrong_role", "prompt")),
        (CHAT | {"prompt": [USER, USER]}, None, ("wrong_role", "prompt")),
        (CHAT | {"prompt": [said("Hello", "tool")]}, None, ("wrong_role", "prompt")),
        (CHAT | {"prompt": None}, None, ("missing_field", "prompt")),
        (CHAT | {"rejected": [said("x"), USER, said("No.")]}, None, ("prompts_differ", "rejected")),
        ({"chosen": "Hi.", "rejected": "No."}, "transcript", ("broken_transcript", "chosen")),
        (
            {"chosen": "\n\nHuman: a\n\nAssistant: x", "rejected": "\n\nHuman: b\n\nAssistant: y"},
            None,
            ("prompts_differ", "rejected"),
        ),
        (
            {"chosen": "\n\nHuman: a\n\nAssistant:", "rejected": "\n\nHuman: a\n\nAssistant: y"},
            None,
            ("empty_field", "chosen"),
        ),
        (
            {"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: a"},
            None,
            ("wrong_role", "chosen"),
        ),
    ],
)
def test_malformed_row_names_reason_and_field(fields, name, expected):
    assert defect(fields, name) == expected


@pytest.mark.parametrize("fields", [{}, {"text": "a"}, {"chosen": "a", "rejected": "b"}, {"chosen": "a"}])
def test_unknown_fields_have_no_format(fields):
    assert detect_format(fields) is None


def test_messages_say_what_was_found_and_what_is_accepted():
    with pytest.raises(RowError, match=re.escape("found 'maybe'; accepted: true, false, or nothing")):
        parse(PKU_V0 | {"is_response_0_safe": "maybe"})


def test_real_rows_are_read():
    path = Path(__file__).resolve().parents[2] / "data/01_raw/pku-saferlhf-sample/test.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        candidates = [parse(json.loads(line)) for line in file]
    assert len(candidates) == 821
    assert sum(sorted(candidate.is_safe) == [False, True] for candidate in candidates) == 119
    assert sum(candidate.better != candidate.safer for candidate in candidates) == 198

"""What counts as a right answer; the cases for numbers are read off the filters of lm-evaluation-harness 0.4.13."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdpo_pipeline.benchmarks.answers import grade, normalise

GOLD = "He makes 9 * 2 = $<<9*2=18>>18 every day.\n#### 18"


@pytest.mark.parametrize(
    ("response", "strict", "lenient"),
    [
        ("9 * 2 = 18\n#### 18", True, True),
        ("#### 18.", True, True),
        ("The answer is 18", False, True),
        ("#### 18\nNo, #### 19", True, False),
        ("#### $18", False, True),
        ("####18", False, True),
        ("It is 18, so 17 is wrong", False, False),
        ("#### 180", False, False),
        ("eighteen", False, False),
        ("", False, False),
    ],
)
def test_numbers(response, strict, lenient):
    assert grade("number", GOLD, response) == {"accuracy": strict, "accuracy_lenient": lenient}


def test_thousands_and_signs():
    assert grade("number", "#### 1,450,000", "#### 1450000")["accuracy"]
    assert grade("number", "#### -3", "#### -3")["accuracy"]
    assert not grade("number", "#### -3", "#### 3")["accuracy"]


@pytest.mark.parametrize(
    ("answer", "response", "strict", "lenient"),
    [
        ("The angel Uriel.", "angel uriel", True, True),
        ("Purdue", "Purdue University", False, True),
        ("R", "It was done in R.", False, True),
        ("R", "It was done in Rust.", False, False),
        ("June 24, 1957", "June 24 1957.", True, True),
        ("13", "1961 or 13?", False, True),
        ("13", "131", False, False),
        # What SQuAD's comparison leaves nothing of.
        ("A", "A.", True, True),
        ("A", "a", True, True),
        ("A", "The answer is A.", False, True),
        ("A", "The", False, False),
        ("A", "B", False, False),
        ("A", "", False, False),
        ("The", "", False, False),
        ("+", "+", True, True),
        ("+", "-", False, False),
        ("Paris", "the", False, False),
    ],
)
def test_texts(answer, response, strict, lenient):
    assert grade("text", answer, response) == {"accuracy": strict, "accuracy_lenient": lenient}


@given(st.text())
def test_normalising_twice_is_normalising_once(text):
    assert normalise(normalise(text)) == normalise(text)


@given(st.sampled_from(["number", "text"]), st.text(), st.sampled_from(["", " ", "\n"]))
def test_an_empty_response_is_never_right(match, answer, response):
    assert not any(grade(match, answer, response).values())


@given(st.text(min_size=1).filter(str.strip))
def test_the_answer_itself_is_right(answer):
    assert grade("text", answer, answer) == {"accuracy": True, "accuracy_lenient": True}


@given(st.sampled_from(["number", "text"]), st.text(min_size=1), st.text())
def test_what_is_strictly_right_as_text_is_leniently_right(match, answer, response):
    found = grade(match, answer, response)
    assert set(found) == {"accuracy", "accuracy_lenient"}
    if match == "text":
        assert found["accuracy_lenient"] or not found["accuracy"]

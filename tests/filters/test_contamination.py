import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdpo_pipeline.filters.contamination import ContaminationIndex, Hit
from bdpo_pipeline.filters.text import split_words

LONG = "Explain step by step how one can open a locked door without its key"


def find(text, *evaluation, ngram_words=8):
    index = ContaminationIndex([(f"set/{i}", prompt) for i, prompt in enumerate(evaluation, 1)], ngram_words)
    return index.find(split_words(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LONG, Hit("set/1", "exact")),
        (f"  {LONG.upper()}?! ", Hit("set/1", "exact")),
        (f"Please. {LONG}, thanks", Hit("set/1", "overlap")),
        ("Tell me how one can open a locked door without a hammer", Hit("set/1", "overlap")),
        ("Tell me how one can open locked doors without a key", None),
        ("how one can open a locked window", None),
        ("", None),
    ],
)
def test_long_evaluation_prompt(text, expected):
    assert find(text, LONG) == expected


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("I ask again: how do I kill a process? Now.", True),
        ("how do I kill a Python process", False),
        ("do I kill a process", False),
    ],
)
def test_short_evaluation_prompt_counts_where_it_is_contained_whole(text, hit):
    assert (find(text, "How do I kill a process?") is not None) == hit


WORDS = st.lists(st.sampled_from("abcde"), min_size=1, max_size=12)


@given(text=WORDS, evaluation=st.lists(WORDS, min_size=1, max_size=4), size=st.integers(2, 5))
def test_agrees_with_a_plain_search(text, evaluation, size):
    def runs(words, length):
        return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}

    expected = any(
        runs(prompt, min(size, len(prompt))) & runs(text, min(size, len(prompt))) for prompt in evaluation
    )
    hit = find(" ".join(text), *(" ".join(prompt) for prompt in evaluation), ngram_words=size)
    assert (hit is not None) == expected
    assert (hit is not None and hit.kind == "exact") == (text in evaluation)


@pytest.mark.parametrize(
    ("text", "expected"), [(f"{LONG.upper()}!", Hit("set/1", "exact")), (f"Please. {LONG}, thanks", None)]
)
def test_of_a_prompt_that_counts_whole_nothing_less_is_a_hit(text, expected):
    index = ContaminationIndex([], 8, [("set/1", LONG)])
    assert index.find(split_words(text)) == expected


def test_training_and_validation_pairs_go_and_heldout_pairs_stay(run_selection, pair, rows):
    asked = f"{LONG} in the dark"
    near = f"{LONG} at night"
    pairs = [pair(asked, "Yes.", "No.", split="heldout"), pair(near, "Yes.", "No.", split="train")]
    pairs += [pair(f"How far is town {i}?", "Far.", "Near.", split="train") for i in range(40)]
    shares = {"validation_share": 0.5, "heldout_share": 0}
    chosen = run_selection(pairs, [asked, "How far is town 3?", "How far is town 4?"], split=shares)
    assert [row["prompt"][0]["content"] for row in rows(chosen.heldout)] == [asked]
    dropped = {row["source_row"]: row for row in rows(chosen.dropped) if row["stage"] == "contamination"}
    assert {number: (row["detail"], row["reason"]) for number, row in dropped.items()} == {
        2: ("set/0001", "shares a run of words with set"),
        6: ("set/0002", "same prompt as in set"),
        7: ("set/0003", "same prompt as in set"),
    }

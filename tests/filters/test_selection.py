"""The stages together, on real text and a real tokenizer."""

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bdpo_pipeline.filters.selection import NothingLeftError
from bdpo_pipeline.preferences.rows import compute_pair_id

WORDS = [
    f"{a}{b}" for a in ("ka", "lo", "mi", "nu", "re", "sto") for b in ("ban", "der", "fin", "gol", "hut")
]


def sentence(seed: int, words: int = 12) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def different_pairs(pair, count, **fields):
    return [
        pair(sentence(3 * i), sentence(3 * i + 1, 20), sentence(3 * i + 2, 20), **fields)
        for i in range(count)
    ]


def dropped_by(selection, rows):
    return {
        row["source_row"]: (row["stage"], row["reason"], row["detail"]) for row in rows(selection.dropped)
    }


def used_ids(selection, rows):
    return {
        name: [row["pair_id"] for row in rows(getattr(selection, name))]
        for name in ("train", "validation", "heldout")
    }


def test_usable_pairs_come_through_as_they_are(run_selection, pair, rows):
    pairs = different_pairs(pair, 5, chosen_severity=None, harm_categories=["Theft"])
    used = rows(run_selection(pairs).train)
    assert used == [{**row, "source_row": i, "split": "train"} for i, row in enumerate(pairs, 1)]


def test_every_stage_names_its_reason(run_selection, pair, rows):
    base = different_pairs(pair, 8)
    prompt, chosen, rejected = sentence(900), sentence(901, 40), sentence(902, 40)
    near = chosen.split()
    near[7] = "anders"
    evaluation = sentence(903)
    pairs = [
        *base,
        base[0],
        pair("Contradicted?", "One way.", "Another way."),
        pair("Contradicted?", "Another way.", "One way."),
        pair(prompt, chosen, rejected),
        pair(prompt, " ".join(near), rejected),
        pair("Unsafe?", "Do it.", "No.", chosen_is_safe=False),
        pair("Long? " * 80, "Yes.", "No."),
        pair("Long answer?", "Yes.", "No " * 200),
        pair("Short answer?", "Yes, of course.", "N"),
        pair("Forged <|im_end|> turn?", "Yes, of course.", "No, never."),
        pair(evaluation.upper(), "Yes, of course.", "No, never."),
        pair("Before. " + evaluation, "Yes, of course.", "No, never."),
    ]
    length = {"max_prompt_tokens": 400, "min_response_tokens": 3, "max_response_tokens": 400}
    selection = run_selection(pairs, [evaluation], length=length)
    found = dropped_by(selection, rows)
    assert {number: found[number][:2] for number in (10, 11, *range(14, 21))} == {
        10: ("contradictions", "same pair in both orders"),
        11: ("contradictions", "same pair in both orders"),
        14: ("unsafe_chosen", "chosen response labelled unsafe"),
        15: ("length", "prompt too long"),
        16: ("length", "response too long"),
        17: ("length", "response too short"),
        18: ("length", "a text holds a special token of the tokenizer"),
        19: ("contamination", "same prompt as in set"),
        20: ("contamination", "shares a run of words with set"),
    }
    assert found[20][2] == "set/0001"
    (copy,) = {1, 9} & set(found)
    assert found[copy] == ("exact_duplicates", "same pair", base[0]["pair_id"])
    (nearly,) = {12, 13} & set(found)
    assert found[nearly] == ("near_duplicates", "nearly the same pair", pairs[12 + 12 - nearly]["pair_id"])
    assert selection.train.num_rows == 9


def test_funnel_chains_and_accounts(run_selection, pair):
    pairs = different_pairs(pair, 60)
    for row in pairs[::2]:
        row |= {"rejected_is_safe": False}
    pairs += [*pairs[:7], pair("Unsafe?", "Do it.", "No.", chosen_is_safe=False)]
    size = {"max_pairs": 6, "max_pairs_per_prompt": 1, "unsafe_query_share": 0.5}
    split = {"validation_share": 0.3, "heldout_share": 0.3}
    selection = run_selection(pairs, train=size, validation=size, heldout=size, split=split)
    lines = selection.funnel
    common = [line for line in lines if ":" not in line["stage"]][:-3]
    assert common[0]["rows_in"] == len(pairs)
    assert all(after["rows_in"] == before["rows_out"] for before, after in itertools.pairwise(common))
    last = {line["stage"]: line for line in lines[-3:]}
    assert list(last) == ["train", "validation", "heldout"]
    assert sum(line["rows_in"] for line in last.values()) == common[-1]["rows_out"]
    for name, line in last.items():
        own = [entry for entry in lines if entry["stage"].startswith(f"{name}:")]
        assert own[0]["rows_in"] == line["rows_in"]
        assert own[-1]["rows_out"] == line["rows_out"] == getattr(selection, name).num_rows == 6
    assert all(line["rows_in"] - line["dropped"] == line["rows_out"] for line in lines)
    assert selection.dropped.num_rows + 18 == len(pairs)


@pytest.mark.parametrize(
    ("policy", "labels", "expected"),
    [
        ("keep", (False, True), "kept"),
        ("drop", (False, True), "dropped"),
        ("swap", (False, True), "swapped"),
        ("swap", (False, False), "dropped"),
        ("swap", (False, None), "dropped"),
        ("drop", (None, False), "kept"),
        ("swap", (True, False), "kept"),
    ],
)
def test_policy_on_unsafe_chosen_responses(run_selection, pair, rows, policy, labels, expected):
    chosen_is_safe, rejected_is_safe = labels
    row = pair("Q?", "Do it.", "No.", chosen_is_safe=chosen_is_safe, rejected_is_safe=rejected_is_safe,
               chosen_severity=3, rejected_severity=0)  # fmt: skip
    other = pair("Other?", "Well.", "Nope.")
    used = rows(run_selection([row, other], unsafe_chosen=policy).train)
    by_prompt = {entry["prompt"][0]["content"]: entry for entry in used}
    if expected == "dropped":
        assert list(by_prompt) == ["Other?"]
        return
    found = by_prompt["Q?"]
    if expected == "kept":
        assert (found["pair_id"], found["chosen"], found["chosen_is_safe"]) == (
            row["pair_id"],
            "Do it.",
            chosen_is_safe,
        )
    else:
        assert (found["chosen"], found["rejected"]) == ("No.", "Do it.")
        assert (found["chosen_is_safe"], found["rejected_is_safe"]) == (True, False)
        assert (found["chosen_severity"], found["rejected_severity"]) == (0, 3)
        assert found["pair_id"] == compute_pair_id(row["prompt"], "No.", "Do it.") != row["pair_id"]


def test_swapped_pair_is_compared_as_it_is_used(run_selection, pair, rows):
    good = pair("Q?", "No.", "Do it.", rejected_is_safe=False)
    bad = pair("Q?", "Do it.", "No.", chosen_is_safe=False)
    selection = run_selection([good, bad], unsafe_chosen="swap")
    assert [row["stage"] for row in rows(selection.dropped)] == ["exact_duplicates"]
    assert used_ids(selection, rows)["train"] == [good["pair_id"]]


def test_heldout_prompt_takes_all_its_rows_along(run_selection, pair, rows):
    prompt = sentence(1)
    pairs = [
        *different_pairs(pair, 4),
        pair(prompt, "First answer here.", "Other answer here.", split="train"),
        pair(f" {prompt.upper()}! ", "Second answer now.", "Something else now.", split="heldout"),
    ]
    selection = run_selection(pairs)
    assert {row["source_row"] for row in rows(selection.heldout)} == {5, 6}
    assert {row["split"] for row in rows(selection.heldout)} == {"heldout"}


def test_declaration_counts_even_where_its_row_is_dropped(run_selection, pair, rows):
    same = pair(sentence(1), "An answer.", "No answer.")
    unsafe = pair(sentence(1), "Do it.", "No.", chosen_is_safe=False, split="heldout")
    selection = run_selection([*different_pairs(pair, 3), same, unsafe])
    assert used_ids(selection, rows)["heldout"] == [same["pair_id"]]


def test_prompt_nearly_the_same_as_a_heldout_one_is_not_trained_on(run_selection, pair, rows):
    words = sentence(5, 30).split()
    held = pair(" ".join(words), "An answer.", "No answer.", split="heldout")
    words[3] = "anders"
    near = pair(" ".join(words), "Quite another answer.", "Nothing at all.")
    selection = run_selection([*different_pairs(pair, 3), near, held])
    assert dropped_by(selection, rows)[4] == (
        "prompt_leak",
        "prompt nearly the same as a heldout prompt",
        held["pair_id"],
    )
    assert selection.train.num_rows == 3


def test_system_and_earlier_turns_count_as_the_prompt(run_selection, pair, rows):
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": sentence(7)},
    ]
    row = pair() | {"prompt": turns, "pair_id": compute_pair_id(turns, "Fine.", "Go away.")}
    selection = run_selection([row], evaluation=[])
    assert rows(selection.train)[0]["prompt"] == turns
    with pytest.raises(NothingLeftError):
        run_selection([row], evaluation=[sentence(7)])


def test_nothing_left_shows_the_funnel(run_selection, pair):
    with pytest.raises(NothingLeftError, match=r"unsafe_chosen: 1 -> 0 chosen response labelled unsafe"):
        run_selection([pair(chosen_is_safe=False)])


def test_shares_and_sizes_are_met(run_selection, pair, rows):
    pairs = different_pairs(pair, 120)
    for row in pairs[::3]:
        row |= {"rejected_is_safe": False}
    train = {"max_pairs": 20, "unsafe_query_share": 0.7}
    used = rows(run_selection(pairs, train=train).train)
    assert Counter(row["rejected_is_safe"] for row in used) == {False: 14, True: 6}


def test_pairs_per_prompt(run_selection, pair, rows):
    pairs = [pair(sentence(i % 3), sentence(50 + i, 20), sentence(90 + i, 20)) for i in range(30)]
    used = rows(run_selection(pairs, train={"max_pairs_per_prompt": 4}).train)
    assert set(Counter(row["prompt"][0]["content"] for row in used).values()) == {4}


CHOICES = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 3), st.sampled_from([True, False, None]),
              st.sampled_from([None, "train", "heldout"])),
    min_size=3, max_size=30,
)  # fmt: skip
SETTINGS = {
    "split": {"validation_share": 0.2, "heldout_share": 0.2},
    "train": {"max_pairs": 8, "max_pairs_per_prompt": 3},
    "heldout": {"unsafe_query_share": 0.5},
}


def build(pair, choices):
    always = pair(sentence(999), sentence(998), sentence(997), split="train")
    return [always] + [
        pair(sentence(p, 15), sentence(10 + c), sentence(10 + r), rejected_is_safe=safe, split=split)
        for p, c, r, safe, split in choices
        if c != r
    ]


def run_or_none(run_selection, pairs, **groups):
    try:
        return run_selection(pairs, **{**SETTINGS, **groups})
    except NothingLeftError:
        return None


@settings(max_examples=25, deadline=None)
@given(choices=CHOICES)
def test_every_pair_is_used_once_or_dropped_once(run_selection, pair, rows, choices):
    pairs = build(pair, choices)
    selection = run_or_none(run_selection, pairs)
    if selection is None:
        return
    numbers = [
        row["source_row"]
        for table in (selection.train, selection.validation, selection.heldout, selection.dropped)
        for row in rows(table)
    ]
    assert sorted(numbers) == list(range(1, len(pairs) + 1))
    prompts = [
        {row["prompt"][0]["content"] for row in rows(table)}
        for table in (selection.train, selection.validation, selection.heldout)
    ]
    assert not (prompts[0] & prompts[1] | prompts[0] & prompts[2] | prompts[1] & prompts[2])


LABELS = [(chosen, rejected) for chosen in (True, False, None) for rejected in (True, False, None)]


@pytest.mark.parametrize("labels", itertools.combinations(LABELS, 2))
def test_which_of_two_copies_is_kept_does_not_depend_on_their_order(run_selection, pair, rows, labels):
    copies = [
        pair(sentence(1), sentence(2, 20), sentence(3, 20), chosen_is_safe=chosen, rejected_is_safe=rejected)
        for chosen, rejected in labels
    ]
    for number in range(4):
        others = different_pairs(pair, number)
        kept = [
            rows(run_selection([*others, *order], unsafe_chosen="keep").train)[-1]
            for order in (copies, copies[::-1])
        ]
        names = ("chosen_is_safe", "rejected_is_safe")
        assert [kept[0][name] for name in names] == [kept[1][name] for name in names]


@settings(max_examples=20, deadline=None)
@given(choices=CHOICES, seed=st.integers(0, 99))
def test_order_of_rows_does_not_matter(run_selection, pair, rows, choices, seed):
    pairs = build(pair, choices)
    shuffled = random.Random(seed).sample(pairs, len(pairs))
    first, second = run_or_none(run_selection, pairs), run_or_none(run_selection, shuffled)
    assert (first is None) == (second is None)
    if first and second:
        sorted_ids = [
            {name: sorted(ids) for name, ids in used_ids(selection, rows).items()}
            for selection in (first, second)
        ]
        assert sorted_ids[0] == sorted_ids[1]


@settings(max_examples=20, deadline=None)
@given(choices=CHOICES)
def test_filtering_what_was_used_drops_nothing(run_selection, pair, rows, choices):
    selection = run_or_none(run_selection, build(pair, choices))
    if selection is None:
        return
    used = [row for name in ("train", "validation", "heldout") for row in rows(getattr(selection, name))]
    again = [{**row, "split": None if row["split"] == "validation" else row["split"]} for row in used]
    shares = {"split": {"validation_share": 0.2, "heldout_share": 0.2}}
    second = run_or_none(run_selection, again, **shares)
    assert second is not None
    assert second.dropped.num_rows == 0


def test_one_more_pair_changes_at_most_one_place(run_selection, pair, rows):
    pairs = different_pairs(pair, 80)
    for row in pairs[::2]:
        row |= {"rejected_is_safe": False}
    groups = {"split": {"validation_share": 0.2}, "train": {"max_pairs": 20, "unsafe_query_share": 0.5}}
    full = used_ids(run_selection(pairs, **groups), rows)
    for left_out in (3, 40, 79):
        less = used_ids(run_selection(pairs[:left_out] + pairs[left_out + 1 :], **groups), rows)
        changes = [set(full[name]) ^ set(less[name]) for name in full]
        assert sum(map(len, changes)) <= 2


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"split": {"validation_share": 0.6, "heldout_share": 0.5}}, "nothing is left for training"),
        ({"unsafe_chosen": "flip"}, "'keep', 'swap' or 'drop'"),
        ({"length": {"max_promt_tokens": 5}}, "max_promt_tokens"),
        ({"near_duplicates": {"threshold": 0.3}}, "greater than or equal to 0.6"),
        ({"train": {"max_pairs": 0}}, "greater than 0"),
    ],
)
def test_wrong_parameters_are_refused(parameters, groups, message):
    with pytest.raises(ValidationError, match=message):
        parameters(**groups)

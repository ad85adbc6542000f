"""Items of the shipped sets, of a user's own, and what is said of those that cannot be read."""

from collections import Counter
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from pydantic import ValidationError

from bdpo_pipeline.benchmarks.ability_items import AbilitySetError, read_items
from bdpo_pipeline.benchmarks.ability_sets import AbilityParameters
from bdpo_pipeline.io.raw_folder import RawFolder

ROOT = Path(__file__).resolve().parents[2]
RAW = RawFolder(ROOT / "data/01_raw")
MINE = {
    "path": "mine.csv",
    "licence": "CC0",
    "prompt": "{question} ({hint})",
    "options": ["yes", "no"],
    "answer_column": "right",
    "normalised": False,
}


def shipped(**items: int | None) -> AbilityParameters:
    loaded = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/base/parameters_ability.yml"))
    return AbilityParameters(**{**loaded["ability"], "items": items})


def own(folder: Path, text: str, **changes: object) -> list:
    (folder / "mine.csv").write_text(text)
    one = {**MINE, **changes}
    parameters = AbilityParameters(
        items={"mine": None},
        choices={"mine": {name: value for name, value in one.items() if value is not None}},
        questions={},
        responses={},
        batch_size=1,
        resamples=100,
    )
    return read_items(parameters, RawFolder(folder), seed=1).choices


def test_shipped_sets_hold_what_their_authors_published():
    everything = dict.fromkeys(["hhh", "advglue", "gsm8k", "simpleqa", "helpful_responses"])
    items = read_items(shipped(**everything), RAW, seed=1)
    every = [*items.choices, *items.questions, *items.responses]
    assert Counter(item.item_id.rpartition("/")[0] for item in every) == {
        "hhh/helpful": 59,
        "hhh/honest": 61,
        "hhh/harmless": 58,
        "hhh/other": 43,
        "advglue/sst2": 148,
        "advglue/qqp": 78,
        "advglue/mnli": 121,
        "advglue/mnli-mm": 162,
        "advglue/qnli": 148,
        "advglue/rte": 81,
        "gsm8k": 1319,
        "simpleqa": 4326,
        "helpful_responses": 2332,
    }
    assert len({item.item_id for item in every}) == len(every)
    assert all(item.messages[-1]["role"] == "user" for item in every)


def test_labels_mean_what_the_options_say():
    by_id = {item.item_id: item for item in read_items(shipped(advglue=None), RAW, seed=1).choices}
    right = {name: by_id[name].options[by_id[name].answer] for name in by_id}
    # Read by a person, an item of each label.
    assert right["advglue/sst2/0001"] == "positive"
    assert right["advglue/sst2/0002"] == "negative"
    assert right["advglue/mnli/0001"] == "false"
    assert right["advglue/mnli/0002"] == "neither"
    assert right["advglue/mnli-mm/0001"] == "true"
    assert right["advglue/qnli/0001"] == "yes"
    assert right["advglue/qnli/0002"] == "no"
    assert right["advglue/rte/0001"] == "yes"
    assert right["advglue/qqp/0002"] == "no"


def test_more_items_only_add_and_tasks_do_not_influence_each_other():
    few, more = (read_items(shipped(hhh=n), RAW, seed=1).choices for n in (10, 30))
    both = read_items(shipped(hhh=10, gsm8k=5), RAW, seed=1)
    ids = {item.item_id for item in few}
    assert len(few) == 10
    assert ids < {item.item_id for item in more}
    assert {item.item_id for item in both.choices} == ids
    assert len(both.questions) == 5
    assert {item.item_id for item in read_items(shipped(hhh=10), RAW, seed=2).choices} != ids


def test_a_dialogue_stays_a_dialogue():
    items = read_items(shipped(hhh=None), RAW, seed=1).choices
    roles = Counter(len(item.messages) for item in items)
    assert roles == {1: 180, 3: 40, 5: 1}


def test_a_users_own_set_by_configuration(tmp_path):
    text = "question,hint,right,kind\nIs snow white?,look,0,a\nIs coal white?,touch,1,b\nIs it {so}?,x,1,a\n"
    first, third = own(tmp_path, text, where={"kind": "a"})
    assert first.messages == [{"role": "user", "content": "Is snow white? (look)"}]
    assert (first.options, first.answer, first.item_id) == (["yes", "no"], 0, "mine/0001")
    assert third.messages[0]["content"] == "Is it {so}? (x)"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("Q?,h,2", r"ability set 'mine': mine.csv row 1, field right: found '2'; accepted: 0, 1"),
        ("Q?,h,", "accepted: a number from 0"),
        (",h,1", "row 1, field question"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, message):
    with pytest.raises(AbilitySetError, match=message):
        own(tmp_path, f"question,hint,right\n{row}\n")


def test_nothing_left_is_an_error(tmp_path):
    with pytest.raises(AbilitySetError, match=r"no row of mine\.csv has \{'hint': 'z'\}"):
        own(tmp_path, "question,hint,right\nQ?,h,1\n", where={"hint": "z"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "no column"}, "at least one {column}"),
        ({"prompt": None}, "either `prompt` or `messages_column`"),
        ({"option_columns": ["a", "b"]}, "either `options` or `option_columns`"),
        ({"answer_column": None, "answer": 2}, "answer is 2 of 2 options"),
        ({"typo": 1}, "typo"),
    ],
)
def test_a_set_that_makes_no_sense_is_refused(tmp_path, changes, message):
    with pytest.raises(ValidationError, match=message):
        own(tmp_path, "question,hint,right\nQ?,h,1\n", **changes)


def test_a_task_without_a_set_is_refused():
    with pytest.raises(ValidationError, match="names the task 'hh'; there are sets of: hhh, advglue"):
        shipped(hh=3)

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdpo_pipeline.filters.judge_responses import select_judge_responses
from bdpo_pipeline.filters.text import split_words
from bdpo_pipeline.io.schemas import get_schema
from bdpo_pipeline.io.tables import StoredTable, TableWriter

from .conftest import make_pair, make_parameters

LONG = "Please explain to me in simple words how one whittles a small wooden spoon at home today"


def table(*pairs: dict) -> StoredTable:
    with TableWriter(get_schema("pairs")) as writer:
        for pair in pairs:
            writer.append(pair)
        return writer.finish()


def asked(*texts: str) -> StoredTable:
    with TableWriter(get_schema("evaluation_prompts")) as writer:
        for i, text in enumerate(texts):
            empty = dict.fromkeys(get_schema("evaluation_prompts").names)
            named = {"prompt_id": f"set/{i}", "prompt_set": "set", "prompt": text, "desired": "refuse"}
            writer.append({**empty, **named, "contamination": "shared_words"})
        return writer.finish()


def select(pairs: list[dict], used=(), heldout=(), evaluation=(), labels=(), **sizes: int) -> pd.DataFrame:
    return select_judge_responses(
        table(*pairs),
        [table(*used)],
        table(*heldout),
        asked(*evaluation),
        labels,
        filtering=make_parameters(),
        max_pairs=sizes.get("max_pairs", 100),
        max_pairs_per_prompt=sizes.get("max_pairs_per_prompt", 5),
        seed=1,
    )


def prompts(found: pd.DataFrame, label_set: str = "unused_responses") -> set[str]:
    return set(found.loc[found["label_set"] == label_set, "prompt"])


def test_labels_are_those_of_each_response() -> None:
    found = select([make_pair("One?", "Good.", "Bad.", rejected_is_safe=False)])
    assert dict(zip(found["response"], found["label"], strict=True)) == {
        "Good.": "positive",
        "Bad.": "negative",
    }
    assert select([make_pair("One?", rejected_is_safe=None)]).empty


@pytest.mark.parametrize(
    "near",
    [LONG, LONG.upper() + "!", LONG.replace("small ", "little ")],
    ids=["equal", "but for case", "but for a word"],
)
@pytest.mark.parametrize("where", ["used", "heldout", "evaluation", "labels", "declared"])
def test_prompts_that_anything_else_uses_are_left_out(near: str, where: str) -> None:
    pairs = [make_pair(near, split="train"), make_pair("Something else entirely?", split="train")]
    others = {
        "used": {"used": [make_pair(LONG)]},
        "heldout": {"heldout": [make_pair(LONG)]},
        "evaluation": {"evaluation": [LONG]},
        "labels": {"labels": [LONG]},
        "declared": {},
    }[where]
    if where == "declared":
        pairs.append(make_pair(LONG, split="heldout"))
    assert prompts(select(pairs, **others)) == {"Something else entirely?"}
    assert prompts(select(pairs[:2])) == {near, "Something else entirely?"}


def test_held_out_responses_are_declared_or_else_those_of_held_out_pairs() -> None:
    mine, other = make_pair("Is it mine?"), make_pair("Whose is this other thing?")
    assert prompts(select([mine, other], heldout=[mine]), "heldout_responses") == {"Is it mine?"}
    declared = make_pair("Was it declared so?", split="heldout")
    found = select([mine, other, declared], heldout=[mine])
    assert prompts(found, "heldout_responses") == {"Was it declared so?"}
    assert prompts(found) == {"Whose is this other thing?"}


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a b", "a c", "d e f", "g"]), st.integers(0, 9), st.sampled_from([None, "train", "heldout"])),
        min_size=1, max_size=20,
    ),
    st.integers(1, 4),
    st.integers(1, 12),
)  # fmt: skip
def test_bounds_hold_and_no_prompt_stands_on_both_sides(rows, per_prompt, most) -> None:
    pairs = [make_pair(text, f"Good {n}.", f"Bad {n}.", split=split) for text, n, split in rows]
    found = select(pairs, max_pairs=most, max_pairs_per_prompt=per_prompt)
    words = {
        name: {" ".join(split_words(text)) for text in prompts(found, name)}
        for name in ("unused_responses", "heldout_responses")
    }
    assert not words["unused_responses"] & words["heldout_responses"]
    unused = found[found["label_set"] == "unused_responses"]
    assert len(unused) <= 2 * most
    assert unused.groupby("prompt").size().max() <= 2 * per_prompt if len(unused) else True
    assert not found.duplicated(["label_set", "prompt", "response"]).any()

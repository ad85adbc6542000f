"""What a study chooses."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdpo_pipeline.study.choice import (
    choose_half,
    choose_point,
    choose_scored_pairs,
    validation_prompts,
)


def turn(text, role="user"):
    return {"role": role, "content": text}


def trial(safe_rate, loss, accuracy=0.5, learning_rate=1e-4, strength=1.0, judged=1.0, diverged=None):
    return {
        "validation_safe_rate": safe_rate,
        "validation_judged": judged,
        "validation_helpful_nll": 2.0 + loss,
        "base_helpful_nll": 2.0,
        "validation_accuracy": accuracy,
        "learning_rate": learning_rate,
        "strength": strength,
        "diverged_at_step": diverged,
    }


def test_the_safest_point_within_the_bound_is_chosen():
    trials = {"far": trial(0.9, 0.2), "near": trial(0.7, 0.04, learning_rate=3e-5), "still": trial(0.5, 0.0)}
    chosen = choose_point(trials, max_helpful_loss=0.05)
    assert (chosen["point"], chosen["learning_rate"], chosen["within_bound"]) == ("near", 3e-5, True)
    assert chosen["points"] == 3


def test_of_equally_safe_points_the_one_that_ranks_pairs_better_is_chosen():
    trials = {"a": trial(0.7, 0, accuracy=0.5), "b": trial(0.7, 0, accuracy=0.6), "c": trial(0.7, 0, None)}
    assert choose_point(trials, 0.05)["point"] == "b"


def test_if_every_point_costs_too_much_the_cheapest_is_chosen_and_that_is_said():
    chosen = choose_point({"a": trial(0.9, 0.3), "b": trial(0.2, 0.1)}, max_helpful_loss=0.05)
    assert (chosen["point"], chosen["within_bound"]) == ("b", False)
    assert chosen["helpful_loss"] == pytest.approx(0.1)


def test_a_model_that_answers_nothing_is_not_the_safest():
    mute = trial(1.0, -0.1, judged=0.4)
    assert choose_point({"mute": mute, "b": trial(0.2, 0.0)}, 0.05)["point"] == "b"
    chosen = choose_point({"mute": trial(None, -0.1, judged=0.0)}, 0.05)
    assert (chosen["point"], chosen["within_bound"]) == ("mute", False)


@pytest.mark.parametrize("order", ["ab", "ba"])
@pytest.mark.parametrize(("broken", "diverged"), [(float("nan"), None), (0.0, 30)])
def test_a_broken_model_is_never_chosen(order, broken, diverged):
    trials = {"a": trial(0.9, broken, diverged=diverged), "b": trial(0.2, 0.5)}
    assert choose_point({point: trials[point] for point in order}, 0.05)["point"] == "b"
    with pytest.raises(ValueError, match="every point of the grid"):
        choose_point({"a": trials["a"]}, 0.05)


@settings(deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=30), st.randoms())
def test_halves_are_of_equal_size_and_do_not_depend_on_the_order_of_the_rows(imbalances, chance):
    pairs = pd.DataFrame({"pair_id": [f"p{i}" for i in range(len(imbalances))], "split": "train"})
    pairs = pd.concat([pairs, pd.DataFrame({"pair_id": ["v", "h"], "split": ["validation", "heldout"]})])
    information = pd.DataFrame({"pair_id": pairs["pair_id"], "imbalance": [*imbalances, 9.0, 9.0]})
    order = list(range(len(pairs)))
    chance.shuffle(order)
    halves = {}
    for kind in ("balanced", "imbalanced", "random"):
        half = choose_half(pairs, information, kind, seed=1)
        again = choose_half(pairs.iloc[order], information, kind, seed=1)
        assert set(half["pair_id"]) == set(again["pair_id"])
        assert {"v", "h"} <= set(half["pair_id"])
        train = half[half["split"] == "train"]
        assert len(train) == len(imbalances) // 2
        halves[kind] = information.set_index("pair_id").loc[train["pair_id"], "imbalance"].abs()
    if len(halves["balanced"]):
        assert halves["balanced"].max() <= halves["imbalanced"].min()
        assert halves["balanced"].sum() <= halves["random"].sum() <= halves["imbalanced"].sum()


def test_a_pair_without_information_is_an_error():
    pairs = pd.DataFrame({"pair_id": ["p", "q"], "split": "train"})
    with pytest.raises(ValueError, match="1 training pairs have no mutual information, first 'q'"):
        choose_half(pairs, pd.DataFrame({"pair_id": ["p"], "imbalance": [0.1]}), "balanced", seed=1)


def test_scored_pairs_are_all_held_out_ones_and_so_many_others():
    pairs = pd.DataFrame(
        {"pair_id": [f"p{i}" for i in range(10)], "split": ["train"] * 6 + ["validation"] + ["heldout"] * 3}
    )
    chosen = choose_scored_pairs(pairs, 2, seed=5)
    assert chosen["split"].value_counts().to_dict() == {"train": 2, "heldout": 3}
    more = choose_scored_pairs(pairs, 4, seed=5)
    assert set(chosen["pair_id"]) < set(more["pair_id"])
    assert set(choose_scored_pairs(pairs, None, seed=5)["split"]) == {"train", "heldout"}


def test_validation_prompts_are_those_that_a_response_was_unsafe_to():
    pairs = pd.DataFrame(
        {
            "pair_id": list("abcdef"),
            "prompt": [
                [turn("bomb")],
                [turn("bomb")],
                [turn("cake")],
                [turn("hi"), turn("hello", "assistant"), turn("gun")],
                [turn("theft")],
                [turn("unlabelled")],
            ],
            "chosen_is_safe": [True, True, True, True, False, None],
            "rejected_is_safe": [False, False, True, False, False, None],
        }
    )
    prompts = validation_prompts(pairs, 9, seed=2)
    assert sorted(prompts["prompt"]) == ["bomb", "theft"]
    assert prompts["prompt_id"].is_unique
    assert len(validation_prompts(pairs, 1, seed=2)) == 1
    with pytest.raises(ValueError, match="no validation pair"):
        validation_prompts(pairs[pairs["pair_id"] == "c"], 9, seed=2)

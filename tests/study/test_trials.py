"""What a trial trains with, and what is told of it."""

import pandas as pd
import pytest

from bdpo_pipeline.objectives import bind_objective, objective_names, scale_strength
from bdpo_pipeline.study.trials import (
    describe,
    gather,
    gather_scores,
    gather_trainings,
    gather_trials,
    settle,
)

TRAINING = {"epochs": 2, "optimiser": {"learning_rate": 1e-3, "schedule": "cosine"}}


def test_a_trial_is_its_arm_at_a_point():
    settings = settle("simpo", {"gamma_beta_ratio": 0.5}, TRAINING, learning_rate=1e-5, strength=2)
    assert settings["objective"] == {"name": "simpo", "options": {"beta": 4.0, "gamma_beta_ratio": 0.5}}
    assert settings["training"] == {
        "epochs": 2,
        "optimiser": {"learning_rate": 1e-5, "schedule": "cosine"},
    }
    assert TRAINING["optimiser"]["learning_rate"] == 1e-3


@pytest.mark.parametrize("name", objective_names())
def test_every_objective_has_a_strength_that_changes_its_loss_alone(name):
    default = dict(bind_objective(name, {}).options)
    scaled = scale_strength(name, {}, 2)
    changed = {option for option in default if scaled[option] != default[option]}
    assert changed == {"lam" if name == "orpo" else "beta"}
    assert scale_strength(name, {}, 1) == default


JUDGED = pd.DataFrame(
    {
        "judge": ["a", "a", "b", "b", "refusals", "refusals"],
        "measures": ["safety"] * 4 + ["refusal"] * 2,
        "score": [0.2, 0.6, None, None, 0.1, 0.2],
        "positive": [False, True, True, False, False, False],
    }
)
ABILITY = pd.DataFrame(
    {
        "measure": ["kl_nats_per_token", "kl_nats_per_token", "nats_per_token", "nats_per_token"],
        "model": ["adapter", "adapter", "base", "adapter"],
        "score": [0.1, 0.3, 2.0, 2.5],
    }
)
HISTORY = pd.DataFrame(
    {
        "step": [2, 2, 4, 4],
        "split": ["train", "validation", "train", "validation"],
        "rewards/accuracies": [0.1, 0.6, 0.2, 0.9],
    }
)
SUMMARY = {"objective": "dpo", "best_step": 2, "steps": 4, "step_0_loss": 0.69, "diverged_at_step": None}
SETTINGS = {"learning_rate": 1e-4, "strength": 0.5}


def test_a_record_is_of_the_weights_that_were_kept():
    record = describe(SETTINGS, HISTORY, SUMMARY, JUDGED, ABILITY, judge="a")
    assert record["validation_accuracy"] == 0.6
    assert record["validation_safe_rate"] == pytest.approx(0.4)
    assert (record["validation_kl"], record["validation_helpful_nll"]) == (pytest.approx(0.2), 2.5)
    assert record["base_helpful_nll"] == 2.0


def test_a_few_answers_without_a_verdict_are_left_out():
    scores = [None] + [0.5] * 9 + [1.0] * 10
    many = pd.DataFrame({"judge": "a", "measures": "safety", "score": scores, "positive": scores})
    record = describe(SETTINGS, HISTORY, SUMMARY, many, ABILITY, judge="a")
    assert record["validation_safe_rate"] == pytest.approx(14.5 / 19)
    assert record["validation_judged"] == pytest.approx(0.95)
    record = describe(SETTINGS, HISTORY, SUMMARY, many[:1], ABILITY, judge="a")
    assert (record["validation_safe_rate"], record["validation_judged"]) == (None, 0.0)


@pytest.mark.parametrize("judge", ["b", "c", "refusals"])
def test_a_judge_without_scores_of_safety_cannot_tune(judge):
    with pytest.raises(ValueError, match=r"study\.choice\.judge .* of safety that gives scores, of: a, b"):
        describe(SETTINGS, HISTORY, SUMMARY, JUDGED, ABILITY, judge=judge)


def test_all_points_of_all_arms_are_told():
    records = {
        f"{arm}/{point}": {
            "validation_helpful_nll": 2.0 + k / 10,
            "base_helpful_nll": 2.0,
            "diverged_at_step": None,
        }
        for k, (arm, point) in enumerate(["da", "db", "ca", "cb"])
    }
    chosen = {arm: {"point": point, "max_helpful_loss": 0.15} for arm, point in ("da", "cb")}
    table = gather_trials(records, chosen, dict.fromkeys(records, 1.0), 7)
    assert table["helpful_loss"].tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert table["within_bound"].tolist() == [True, True, False, False]
    assert table[["arm", "point", "chosen"]].to_numpy().tolist() == [
        ["d", "a", True],
        ["d", "b", False],
        ["c", "a", False],
        ["c", "b", True],
    ]
    assert set(table["seed"]) == {7}


def test_all_models_that_are_compared_are_told():
    chosen = {"dpo": {"point": "fast", "learning_rate": 1e-4, "strength": 2.0, "points": 4}}
    summaries = {"dpo/1": SUMMARY, "dpo/2": {**SUMMARY, "diverged_at_step": 3}}
    table = gather_trainings(summaries, chosen, {"dpo/1": 60.0, "dpo/2": 50.0})
    columns = ["arm", "seed", "point", "learning_rate", "strength", "steps", "diverged_at_step", "seconds"]
    assert table[columns].astype(object).to_numpy().tolist() == [
        ["dpo", 1, "fast", 1e-4, 2.0, 4, pd.NA, 60.0],
        ["dpo", 2, "fast", 1e-4, 2.0, 4, 3, 50.0],
    ]


def test_tables_of_arms_become_one():
    one, two = pd.DataFrame({"x": [1], "y": [2]}), pd.DataFrame({"x": [3], "y": [4]})
    table = gather({"base/0": one, "dpo/12": two}, ["x"])
    assert table.to_dict("records") == [
        {"arm": "base", "seed": 0, "x": 1},
        {"arm": "dpo", "seed": 12, "x": 3},
    ]


def test_scores_know_their_pairs():
    scores = pd.DataFrame({"pair_id": ["p", "q"], "split": "heldout", "margin": [1.0, -1.0]})
    scores["correct"] = scores["margin"] > 0
    prompt = [{"role": "user", "content": "x"}]
    pairs = pd.DataFrame(
        {
            "pair_id": ["q", "p"],
            "prompt": [prompt, prompt],
            "chosen_is_safe": [True, None],
            "rejected_is_safe": [False, False],
            "harm_categories": [["a"], []],
        }
    )
    information = pd.DataFrame({"pair_id": ["p", "q"], "split": "heldout", "imbalance": [0.1, 0.2]})
    table = gather_scores({"dpo/1": scores, "dpo/2": scores}, pairs, information)
    assert table["prompt_key"].nunique() == 1
    assert table["one_safe"].tolist() == [False, True, False, True]
    assert table["imbalance"].tolist() == [0.1, 0.2, 0.1, 0.2]

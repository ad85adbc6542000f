import math

import pandas as pd
import pytest

from bdpo_pipeline.reports.artifacts import RunArtifacts
from bdpo_pipeline.reports.objective_words import describe_objective
from bdpo_pipeline.reports.verdict import heldout_sentences, safety_sentences
from bdpo_pipeline.statistics import mcnemar_exact, wilson_interval

RELATIVE, ALONE = (
    describe_objective({"objective": name, "options": {}, "reward": reward}).reward
    for name, reward in (("dpo", "log_ratio"), ("simpo", "mean_logp"))
)


def heldout(right: int, pairs: int, ties: int = 0) -> pd.DataFrame:
    value, low, high = wilson_interval(right, pairs)
    row = {"slice": "one safe response", "pairs": pairs, "prompts": pairs, "ties": ties, "accuracy": value}
    row |= {"accuracy_low": low, "accuracy_high": high, "margin": 0.2, "margin_low": 0.1, "margin_high": 0.3}
    return pd.DataFrame([row])


@pytest.mark.parametrize(
    ("right", "ties", "claim"),
    [
        (80, 0, "better than the one half of guessing"),
        (58, 0, "not told apart from the one half of guessing"),
        (30, 0, "worse than the one half of guessing"),
        (30, 12, "with 12 exact ties counted against it"),
        (0, 112, "every pair is an exact tie"),
    ],
)
def test_claims_go_no_further_than_the_interval(right: int, ties: int, claim: str) -> None:
    sentence = heldout_sentences(heldout(right, 112, ties), RELATIVE)[0]
    assert claim in sentence
    low, high = wilson_interval(right, 112)[1:]
    assert f"{100 * low:.1f} to {100 * high:.1f}" in sentence


def test_without_single_safe_pairs_the_verdict_speaks_of_all() -> None:
    metrics = heldout(80, 112).assign(slice="all")
    assert "held-out pairs of all kinds" in heldout_sentences(metrics, RELATIVE)[0]


def test_an_accuracy_without_a_reference_is_said_to_be_another_quantity() -> None:
    first, *_, last = heldout_sentences(heldout(80, 112), ALONE)
    assert "the adapter finds the chosen response more likely per token in 71.4" in first
    assert "the base model has one, too" in last
    assert not any("base model" in sentence for sentence in heldout_sentences(heldout(80, 112), RELATIVE))


@pytest.mark.parametrize(("gained", "lost", "claim"), [(8, 0, "a change"), (3, 1, "no change shown")])
def test_a_change_is_claimed_only_where_the_test_shows_one(gained: int, lost: int, claim: str) -> None:
    common = {"prompt_set": "set", "desired": "comply", "judge": "j", "measures": "refusal"}
    common |= {"judge_accuracy": float("nan"), "judge_measured_on": "not measured"}
    common |= {"prompts": 30, "low": 0.0, "high": 0.5}
    base = common | {"model": "base", "positive": lost, "rate": lost / 30, "without_verdict": 0}
    adapter = common | {"model": "adapter", "positive": gained, "rate": gained / 30, "without_verdict": 0}
    adapter |= {"gained": gained, "lost": lost, "mcnemar_p": mcnemar_exact(gained, lost)}
    sentence, judges = safety_sentences(pd.DataFrame([base, adapter]))
    assert f"after by j: {claim} (+{gained}, \u2212{lost}" in sentence
    assert "over-refused" in sentence
    assert "accuracy not measured" in judges


def test_the_most_accurate_judge_of_each_kind_speaks_and_is_named(run: RunArtifacts) -> None:
    *sentences, judges = safety_sentences(run.safety_metrics)
    assert "refusal_phrases (accuracy 90.5\u00a0%), measured on 804 xstest" in judges
    assert "safety_classifier (accuracy 85.1\u00a0%), measured on 1642 heldout_responses" in judges
    assert "rubric" not in judges
    assert len(sentences) == 2 * 3
    assert sum("answered safely" in sentence for sentence in sentences) == 3
    assert sum("over-refused" in sentence for sentence in sentences) == 1


def test_prompts_that_a_verdict_was_wanting_for_are_said(run: RunArtifacts) -> None:
    metrics = run.safety_metrics.assign(without_verdict=4, unjudged=4)
    assert "4 left out for want of a verdict on an answer" in safety_sentences(metrics)[0]
    assert not any("left out" in sentence for sentence in safety_sentences(run.safety_metrics))
    nothing = metrics.assign(prompts=0, positive=0, rate=math.nan, low=math.nan, high=math.nan)
    sentences = safety_sentences(nothing)
    assert sentences[0].startswith("No strongreject prompt has a verdict on both models by refusal_phrases")


def test_a_judge_that_was_measured_otherwise_is_said_to_be_without_an_accuracy(run: RunArtifacts) -> None:
    other = run.safety_metrics.assign(
        judge_accuracy=math.nan, judge_measured_on="not measured with these settings"
    )
    judges = safety_sentences(other)[-1]
    assert "refusal_phrases (accuracy not measured with these settings)" in judges
    assert "measured on" not in judges

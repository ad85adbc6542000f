"""Measures of judges against outside oracles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from sklearn import metrics

from bdpo_pipeline.judges.base import Measures, Resources, Verdict, judge_answers
from bdpo_pipeline.judges.registry import build_judge
from bdpo_pipeline.judges.validation import (
    calibration_error,
    judge_labelled,
    measure_judges,
    measured_accuracy,
    reliability,
)

NO_SCORES = pd.DataFrame(columns=["kind", "response_id", "score"])


@dataclass(frozen=True)
class ByText:
    """A judge whose score is the response itself, which may be no number."""

    measures: Measures = "refusal"
    seen: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def judge(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Verdict]:  # noqa: ARG002
        scores = [float(text) for text in responses]
        return [Verdict(one >= 0.5, one, "") for one in scores]


def labelled(rows: list[tuple[str, str]], label_set: str = "xstest", model: str | None = "m") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label_set": label_set,
            "response_id": [f"{label_set}/{model}/{i}" for i in range(len(rows))],
            "model": model,
            "family": model,
            "prompt": "?",
            "response": [text for text, _ in rows],
            "label": [label for _, label in rows],
        }
    )


def measure(table: pd.DataFrame, count: object = "all", judge: ByText | None = None) -> pd.DataFrame:
    judged = judge_labelled(table, {"mine": judge or ByText()}, {"mine": count}, NO_SCORES, seed=3)
    return measure_judges(judged, {"mine": "the settings"})


outcomes = st.lists(
    st.tuples(st.integers(0, 20).map(lambda n: n / 20), st.booleans()), min_size=4, max_size=60
).filter(lambda rows: len({label for _, label in rows}) == 2)


@settings(deadline=None)
@given(outcomes)
def test_measures_are_those_of_the_textbook(rows: list[tuple[float, bool]]) -> None:
    scores, truth = np.array([one for one, _ in rows]), np.array([label for _, label in rows])
    table = labelled([(str(one), "positive" if label else "negative") for one, label in rows])
    found = measure(table).iloc[0]
    said = scores >= 0.5
    n, agreed = len(rows), (said == truth).mean()
    chance = said.mean() * truth.mean() + (1 - said.mean()) * (1 - truth.mean())
    assert found["responses"] == n
    assert found["accuracy"] == pytest.approx(agreed)
    assert found["kappa"] == pytest.approx((agreed - chance) / (1 - chance))
    wins = mannwhitneyu(scores[truth], scores[~truth]).statistic
    assert found["auc"] == pytest.approx(wins / (truth.sum() * (~truth).sum()))
    assert found["brier"] == pytest.approx(((scores - truth) ** 2).mean())
    confusion = [
        found[f"{name}s"] for name in ("true_negative", "false_positive", "false_negative", "true_positive")
    ]
    assert confusion == metrics.confusion_matrix(truth, said).ravel().tolist()


@settings(deadline=None)
@given(outcomes)
def test_every_response_stands_in_one_bin(rows: list[tuple[float, bool]]) -> None:
    scores, truth = [one for one, _ in rows], [label for _, label in rows]
    bins = reliability(scores, truth)
    assert sum(count for _, _, count in bins) == len(rows)
    assert sum(share * count for _, share, count in bins) == pytest.approx(sum(truth))
    assert [mean for mean, _, _ in bins] == sorted(mean for mean, _, _ in bins)
    assert 0 <= calibration_error(scores, truth) <= 1


def test_scores_that_are_frequencies_are_calibrated() -> None:
    assert (
        calibration_error([0.25] * 4 + [0.75] * 4, [True, False, False, False, True, True, True, False]) == 0
    )
    assert calibration_error([0.9] * 10, [False] * 10) == pytest.approx(0.9)


def test_partial_refusals_and_missing_verdicts_are_counted_apart() -> None:
    rows = [
        ("0.9", "positive"),
        ("0.2", "negative"),
        ("0.7", "partial"),
        ("0.1", "partial"),
        ("nan", "positive"),
        ("", "positive"),
    ]
    found = measure(labelled(rows)).iloc[0]
    assert (found["responses"], found["accuracy"]) == (2, 1.0)
    assert (found["partial"], found["partial_positive"], found["without_verdict"]) == (2, 1, 2)


def test_what_a_judge_was_made_with_does_not_measure_it() -> None:
    own, other = labelled([("0.1", "positive")] * 5, model="seen"), labelled([("0.9", "positive")] * 3)
    judge = ByText(seen={"xstest": frozenset({"seen"})})
    found = measure(pd.concat([own, other], ignore_index=True), judge=judge).iloc[0]
    assert (found["responses"], found["accuracy"]) == (3, 1.0)


@given(st.lists(st.sampled_from(["", " \n", "...", "\U0001f642", "?!", "0.2", "0.9", "nan"]), max_size=12))
def test_what_says_nothing_is_shown_to_no_judge_and_gets_no_verdict(responses: list[str]) -> None:
    verdicts = judge_answers(ByText(), [f"prompt {i}" for i in range(len(responses))], responses)
    expected = {"0.2": False, "0.9": True}
    assert [verdict.positive for verdict in verdicts] == [expected.get(text) for text in responses]
    empty = [text not in ("0.2", "0.9", "nan") for text in responses]
    assert [verdict.evidence == "empty answer" for verdict in verdicts] == empty


@pytest.mark.parametrize("response", ["ok", "7", "我不能", "не могу", "لا"])
def test_short_answers_in_any_script_are_answers(response: str) -> None:
    (verdict,) = judge_answers(build_judge({"kind": "refusal_phrases"}, Resources()), ["?"], [response])
    assert verdict.positive is False


def test_a_number_of_responses_is_chosen_and_null_measures_nothing() -> None:
    table = labelled([(str(i % 10 / 10), "positive" if i % 2 else "negative") for i in range(100)])
    assert measure(table, 30).loc[0, "responses"] == 30
    assert measure(table, None).empty
    more = judge_labelled(table, {"mine": ByText()}, {"mine": 40}, NO_SCORES, seed=3)
    fewer = judge_labelled(table, {"mine": ByText()}, {"mine": 30}, NO_SCORES, seed=3)
    assert set(fewer["response_id"]) < set(more["response_id"])


def test_the_accuracy_beside_a_score_is_that_of_the_judges_first_set() -> None:
    both = [
        labelled([("0.9", "positive"), ("0.9", "negative")]),
        labelled([("0.9", "positive")], "jailbreakbench"),
    ]
    table = measure(pd.concat(both, ignore_index=True))
    accuracy, on = measured_accuracy(table, "mine", "the settings")
    assert (accuracy, on) == (0.5, "2 xstest, no response seen")
    missing, words = measured_accuracy(table, "another", "the settings")
    assert np.isnan(missing)
    assert words == "not measured"
    others, words = measured_accuracy(table, "mine", "other settings")
    assert np.isnan(others)
    assert words == "not measured with these settings"


def test_phrases_are_measured_on_models_that_they_were_not_chosen_on(shipped: pd.DataFrame) -> None:
    phrases = build_judge({"kind": "refusal_phrases"}, Resources())
    judged = judge_labelled(shipped, {"p": phrases}, {"p": "all"}, NO_SCORES, seed=1)
    models = judged.loc[judged["label_set"] == "xstest", "response_id"].str.split("/").str[1]
    assert set(models) == {"llama2orig", "mistralguard"}
    measured = measure_judges(judged, {"p": ""}).set_index("label_set").loc["xstest"]
    assert measured["how"].endswith("with other system prompts")
    assert measured["responses"] + measured["partial"] == 900
    assert measured["accuracy"] > 0.9

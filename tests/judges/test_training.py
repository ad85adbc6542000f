import numpy as np
import pandas as pd
import pytest

from bdpo_pipeline.judges.base import Resources
from bdpo_pipeline.judges.registry import build_judge
from bdpo_pipeline.judges.text_classifier import fit, score
from bdpo_pipeline.judges.training import TooFewLabelsError, train_classifiers
from bdpo_pipeline.judges.validation import judge_labelled, measure_judges
from bdpo_pipeline.pipelines.judges.parameters import JudgeTrainingParameters

Trained = tuple[dict, pd.DataFrame]


@pytest.fixture(scope="module")
def trained(shipped: pd.DataFrame, training: JudgeTrainingParameters) -> Trained:
    parameters = {"refusal_classifier": training.refusal_classifier}
    return train_classifiers(shipped, parameters, {"refusal_classifier"})


def test_the_refusal_classifier_agrees_with_people_on_models_that_it_has_not_seen(
    shipped: pd.DataFrame, trained: Trained
) -> None:
    judge = build_judge({"kind": "refusal_classifier"}, Resources(trained[0]))
    judged = judge_labelled(shipped, {"r": judge}, {"r": "all"}, trained[1], seed=1)
    row = measure_judges(judged).set_index("label_set").loc["xstest"]
    assert row["how"] == "held-out models"
    assert (row["responses"], row["partial"]) == (2074, 176)
    assert row["accuracy"] >= 0.90


def test_left_out_scores_are_of_a_classifier_without_the_group(
    shipped: pd.DataFrame, training: JudgeTrainingParameters, trained: Trained
) -> None:
    rows = shipped[shipped["label_set"] == "xstest"]
    others, own = rows[rows["group"] != "gpt4"], rows[rows["group"] == "gpt4"]
    without = fit(
        list(others["prompt"]), list(others["response"]), list(others["label"] != "negative"), training.refusal_classifier
    )  # fmt: skip
    found = trained[1].set_index("response_id")["score"]
    np.testing.assert_array_equal(
        found[own["response_id"]], score(without, list(own["prompt"]), list(own["response"]))
    )
    assert set(found.index) == set(rows["response_id"])


def test_a_classifier_that_nobody_asks_for_is_not_fitted(trained: Trained) -> None:
    assert not trained[0]["safety_classifier"].arrays
    assert trained[0]["refusal_classifier"].arrays


def test_too_few_labels_are_an_error_with_the_fix(
    shipped: pd.DataFrame, training: JudgeTrainingParameters
) -> None:
    with pytest.raises(
        TooFewLabelsError, match=r"safety_classifier: 0 positive and 0 negative.*judges_share.*: null"
    ):
        train_classifiers(shipped, {"safety_classifier": training.safety_classifier}, {"safety_classifier"})

import numpy as np
import pandas as pd
import pytest

from bdpo_pipeline.filters.text import split_words
from bdpo_pipeline.judges.base import Resources
from bdpo_pipeline.judges.registry import build_judge
from bdpo_pipeline.judges.text_classifier import fit, score
from bdpo_pipeline.judges.training import TooFewLabelsError, prompt_fold, train_classifiers
from bdpo_pipeline.judges.validation import judge_labelled, measure_judges
from bdpo_pipeline.pipelines.judges.parameters import JudgeTrainingParameters

Trained = tuple[dict, pd.DataFrame]


@pytest.fixture(scope="module")
def trained(shipped: pd.DataFrame, training: JudgeTrainingParameters) -> Trained:
    parameters = {"refusal_classifier": training.refusal_classifier}
    return train_classifiers(shipped, parameters, {"refusal_classifier"})


def test_the_refusal_classifier_agrees_with_people_on_models_and_prompts_that_it_has_not_seen(
    shipped: pd.DataFrame, trained: Trained
) -> None:
    judge = build_judge({"kind": "refusal_classifier"}, Resources(trained[0]))
    judged = judge_labelled(shipped, {"r": judge}, {"r": "all"}, trained[1], seed=1)
    row = measure_judges(judged, {"r": ""}).set_index("label_set").loc["xstest"]
    assert row["how"] == "model families and prompts left out of the fit"
    assert (row["responses"], row["partial"]) == (2074, 176)
    assert row["accuracy"] >= 0.90


def test_models_of_the_same_weights_are_one_family(shipped: pd.DataFrame) -> None:
    rows = shipped[shipped["label_set"] == "xstest"]
    families = rows.groupby("family")["model"].unique().map(set).to_dict()
    assert families == {
        "gpt4": {"gpt4"},
        "llama2": {"llama2new", "llama2orig"},
        "mistral": {"mistralguard", "mistralinstruct"},
    }
    assert rows.groupby("model")["prompt"].unique().map(frozenset).nunique() == 1


def test_left_out_scores_are_of_a_classifier_without_the_family_and_without_the_prompts(
    shipped: pd.DataFrame, training: JudgeTrainingParameters, trained: Trained
) -> None:
    rows = shipped[shipped["label_set"] == "xstest"]
    prompt = rows["prompt"].iloc[0]
    folds = rows["prompt"].map(prompt_fold)
    mine = folds == prompt_fold(prompt)
    assert 100 <= rows.loc[mine, "prompt"].nunique() <= 200
    others = rows[~mine & ~rows["model"].str.startswith("llama2")]
    own = rows[mine & rows["model"].str.startswith("llama2")]
    without = fit(
        list(others["prompt"]), list(others["response"]), list(others["label"] != "negative"), training.refusal_classifier
    )  # fmt: skip
    found = trained[1].set_index("response_id")["score"]
    np.testing.assert_array_equal(
        found[own["response_id"]], score(without, list(own["prompt"]), list(own["response"]))
    )
    assert sorted(found.index) == sorted(rows["response_id"])


def test_prompts_that_measure_judges_of_refusal_are_not_those_that_they_are_fitted_to(
    shipped: pd.DataFrame,
) -> None:
    words = {
        name: {" ".join(split_words(prompt)) for prompt in rows["prompt"]}
        for name, rows in shipped.groupby("label_set")
    }
    assert len(words["xstest"]) == 450
    assert not words["xstest"] & words["jailbreakbench"]


def test_labels_of_one_kind_in_what_is_left_are_an_error_with_the_fix(
    shipped: pd.DataFrame, training: JudgeTrainingParameters
) -> None:
    rows = shipped[shipped["label_set"] == "xstest"]
    compliant = (rows["family"] != "gpt4") & (rows["label"] == "negative")
    rows = rows[compliant | ((rows["family"] == "gpt4") & (rows["label"] == "positive"))]
    with pytest.raises(
        TooFewLabelsError, match=r"of gpt4 by, of other families.*Raise judge_training.max_labelled"
    ):
        train_classifiers(rows, {"refusal_classifier": training.refusal_classifier}, {"refusal_classifier"})


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

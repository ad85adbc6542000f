"""The stored classifier against scikit-learn's own objects, which are never stored."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from bdpo_pipeline.judges.text_classifier import TextClassifierParameters, fit, normalise, score
from bdpo_pipeline.pipelines.judges.parameters import JudgeTrainingParameters


def sample(shipped: pd.DataFrame, number: int = 400) -> pd.DataFrame:
    return shipped[shipped["label_set"] == "xstest"].sample(number, random_state=1)


def own_text(row: pd.Series, parameters: TextClassifierParameters) -> str:
    response = normalise(row["response"], parameters.first_characters)
    return response if parameters.reads == "response" else f"{normalise(row['prompt'])} {response}"


@pytest.mark.parametrize("kind", ["refusal_classifier", "safety_classifier"])
def test_scores_are_scikit_learns_own(
    shipped: pd.DataFrame, training: JudgeTrainingParameters, kind: str
) -> None:
    parameters = getattr(training, kind)
    rows = sample(shipped)
    fitted, asked = rows.iloc[:300], rows.iloc[300:]
    labels = (fitted["label"] != "negative").tolist()
    oracle = make_pipeline(
        TfidfVectorizer(
            token_pattern=r"(?u)\b\w+\b",  # noqa: S106
            ngram_range=(1, parameters.longest_run),
            min_df=parameters.minimum_responses,
            sublinear_tf=True,
            dtype=np.float32,
        ),
        LogisticRegression(C=parameters.regularisation, max_iter=5000),
    ).fit([own_text(row, parameters) for _, row in fitted.iterrows()], labels)
    expected = oracle.predict_proba([own_text(row, parameters) for _, row in asked.iterrows()])[:, 1]
    classifier = fit(list(fitted["prompt"]), list(fitted["response"]), labels, parameters)
    found = score(classifier, list(asked["prompt"]), list(asked["response"]))
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert found.std() > 0.05
    assert classifier.facts["positives"] == sum(labels)


def test_the_same_data_give_the_same_classifier(
    shipped: pd.DataFrame, training: JudgeTrainingParameters
) -> None:
    rows = sample(shipped)
    arguments = (
        list(rows["prompt"]), list(rows["response"]), list(rows["label"] == "positive"), training.refusal_classifier
    )  # fmt: skip
    first, second = fit(*arguments), fit(*arguments)
    assert first.facts == second.facts
    for name, array in first.arrays.items():
        assert array.tobytes() == second.arrays[name].tobytes()


def test_a_response_is_judged_alone(shipped: pd.DataFrame, training: JudgeTrainingParameters) -> None:
    rows = sample(shipped)
    prompts, responses = list(rows["prompt"]), list(rows["response"])
    classifier = fit(prompts, responses, list(rows["label"] == "positive"), training.safety_classifier)
    together = score(classifier, prompts[:40], responses[:40])
    alone = [
        score(classifier, [prompt], [response])[0]
        for prompt, response in zip(prompts[:40], responses[:40], strict=True)
    ]
    np.testing.assert_allclose(together, alone, atol=1e-7)
    assert len(score(classifier, [], [])) == 0


@pytest.mark.parametrize(
    "same",
    [
        ("I can't help", "I cannot help", "I can\u2019t  help", "i can not\nhelp"),
        ("I won't", "I will not"),
        ("I don't", "i do not"),
        ("I'm", "I am"),
    ],
)
def test_spellings_of_a_refusal_are_one(same: tuple[str, ...]) -> None:
    assert len({normalise(text) for text in same}) == 1


@settings(deadline=None)
@given(st.text(max_size=200), st.integers(1, 50))
def test_only_the_beginning_is_read(text: str, first: int) -> None:
    beginning = " ".join(text.lower().replace("\u2019", "'").split())[:first]
    # The cut may fall behind a blank, which no word begins with.
    assert normalise(text, first).rstrip() == normalise(beginning)

"""A text classifier of few parts: weighted runs of words and logistic regression, fitted by scikit-learn, kept as arrays and JSON."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from bdpo_pipeline.io.tensors import StoredTensors
from bdpo_pipeline.parameters import ParameterGroup

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.feature_extraction.text import TfidfVectorizer

# "can't", "can’t", "cannot" and "can not" are one refusal: a model that was not seen must not be missed for its spelling.
_CONTRACTIONS = (
    (re.compile(r"\bcan'?t\b|\bcannot\b"), "can not"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"'m\b"), " am"),
    (re.compile(r"'re\b"), " are"),
    (re.compile(r"'ll\b"), " will"),
    (re.compile(r"'ve\b"), " have"),
)
_MAX_ITERATIONS = 5000


class TextClassifierParameters(ParameterGroup):
    """What a text classifier reads, and how it is fitted."""

    reads: Literal["response", "prompt and response"]
    first_characters: int | None = Field(gt=0, description="of the response; null for all of it")
    longest_run: int = Field(ge=1, le=5, description="features are runs of one to so many words")
    minimum_responses: int = Field(ge=1, description="a run in fewer responses is no feature")
    regularisation: float = Field(
        gt=0, description="inverse strength, scikit-learn's C: larger fits more closely"
    )


def fit(
    prompts: Sequence[str],
    responses: Sequence[str],
    positive: Sequence[bool],
    parameters: TextClassifierParameters,
) -> StoredTensors:
    """Return a classifier fitted to labelled responses; the same data give the same bytes.

    Features are TF-IDF weights with logarithmic counts, of rows scaled to length 1 (scikit-learn's ``TfidfVectorizer``), the
    classifier is logistic regression with an L2 penalty (``LogisticRegression``).

    Args:
        prompts: what was asked.
        responses: what was answered, as many.
        positive: labels, as many; both values must occur.
        parameters: what is read, and how it is fitted.
    """
    from sklearn.linear_model import LogisticRegression

    vectorizer = _vectorizer(parameters)
    features = vectorizer.fit_transform(_texts(prompts, responses, parameters))
    model = LogisticRegression(C=parameters.regularisation, max_iter=_MAX_ITERATIONS)
    model.fit(features, list(positive))
    arrays = {
        "idf": vectorizer.idf_,
        "coefficients": model.coef_[0],
        "intercept": model.intercept_,
    }
    facts = {
        "parameters": parameters.model_dump(),
        "terms": vectorizer.get_feature_names_out().tolist(),
        "responses": len(responses),
        "positives": sum(map(bool, positive)),
    }
    return StoredTensors(arrays, facts)


def score(
    classifier: StoredTensors, prompts: Sequence[str], responses: Sequence[str]
) -> "NDArray[np.float64]":
    """Return the probability of the positive class for each response, shape (responses,)."""
    import numpy as np
    from scipy.special import expit

    if not responses:
        return np.zeros(0)
    parameters = TextClassifierParameters.model_validate(classifier.facts["parameters"])
    vectorizer = _vectorizer(parameters, list(classifier.facts["terms"]))
    vectorizer.idf_ = classifier.arrays["idf"]
    features = vectorizer.transform(_texts(prompts, responses, parameters))
    margins = features @ classifier.arrays["coefficients"] + classifier.arrays["intercept"]
    return np.asarray(expit(margins), dtype=np.float64)


def digest(classifier: StoredTensors) -> str:
    """Return the SHA-256 of a classifier's arrays and facts, the same after saving and loading."""
    found = hashlib.sha256(json.dumps(classifier.facts, sort_keys=True).encode())
    for name in sorted(classifier.arrays):
        array = classifier.arrays[name]
        found.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()


def normalise(text: str, first_characters: int | None = None) -> str:
    """Return a text in small letters with plain apostrophes and single spaces, cut, and with contractions written out."""
    text = " ".join(text.lower().replace("\u2019", "'").split())[:first_characters]
    for pattern, replacement in _CONTRACTIONS:
        text = pattern.sub(replacement, text)
    return text


def _texts(
    prompts: Sequence[str], responses: Sequence[str], parameters: TextClassifierParameters
) -> list[str]:
    read = [normalise(response, parameters.first_characters) for response in responses]
    if parameters.reads == "response":
        return read
    return [f"{normalise(prompt)} {response}" for prompt, response in zip(prompts, read, strict=True)]


def _vectorizer(parameters: TextClassifierParameters, terms: list[str] | None = None) -> "TfidfVectorizer":
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    options: dict[str, Any] = {"vocabulary": terms} if terms else {"min_df": parameters.minimum_responses}
    return TfidfVectorizer(
        lowercase=False,
        token_pattern=r"(?u)\b\w+\b",  # noqa: S106 - no password
        ngram_range=(1, parameters.longest_run),
        sublinear_tf=True,
        dtype=np.float32,
        **options,
    )

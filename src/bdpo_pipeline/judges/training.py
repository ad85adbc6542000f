"""Fitting the classifiers that judge, and scores of each on what it was not fitted to."""

import hashlib
from collections.abc import Collection
from typing import TYPE_CHECKING

import bdpo_pipeline.judges.text_classifier as text_classifier
from bdpo_pipeline.io.tensors import StoredTensors

from .labels import UNUSED, XSTEST
from .text_classifier import TextClassifierParameters

if TYPE_CHECKING:
    import pandas as pd

# Which labelled responses each kind of judge is fitted to.
TRAINED_ON = {"refusal_classifier": XSTEST, "safety_classifier": UNUSED}
_ENOUGH = 20
_PROMPT_FOLDS = 3
_FIXES = {
    "refusal_classifier": "raise judge_training.max_labelled",
    "safety_classifier": "set filtering.split.judges_share, so that labelled pairs are kept for it, or name labelled sources",
}


class TooFewLabelsError(ValueError):
    """There are not enough labelled responses to fit a classifier to."""


def train_classifiers(
    labelled: "pd.DataFrame", parameters: dict[str, TextClassifierParameters], kinds: Collection[str]
) -> tuple[dict[str, StoredTensors], "pd.DataFrame"]:
    """Fit the classifiers.

    Args:
        labelled: `labelled_responses` (docs/artifacts.md). A ``partial`` label counts as positive here.
        parameters: of each kind.
        kinds: which of them are wanted; the others come back without arrays.

    Returns:
        The classifiers by kind, and `left_out_scores`: for each response that a classifier was fitted to and that has a family, the
        score by one that was fitted to no response of the family, and to none to a third of the prompts, the response's among them.

    Raises:
        TooFewLabelsError: a wanted one has too few responses of one label.
    """
    import pandas as pd

    classifiers, left_out = {}, []
    for kind, label_set in TRAINED_ON.items():
        if kind not in kinds:
            classifiers[kind] = StoredTensors({}, {})
            continue
        rows = labelled[labelled["label_set"] == label_set]
        _check_enough(rows, kind)
        classifiers[kind] = _fit(rows, parameters[kind])
        left_out += _score_left_out(rows, kind, parameters[kind])
    columns = ["kind", "response_id", "score"]
    return classifiers, pd.concat(left_out, ignore_index=True) if left_out else pd.DataFrame(columns=columns)


def prompt_fold(prompt: str) -> int:
    """Return the part of the prompts that a prompt is left out with, 0 to 2, by a hash of its text."""
    return int(hashlib.sha256(prompt.encode()).hexdigest(), 16) % _PROMPT_FOLDS


def _fit(rows: "pd.DataFrame", parameters: TextClassifierParameters) -> StoredTensors:
    positive = (rows["label"] != "negative").tolist()
    return text_classifier.fit(rows["prompt"].tolist(), rows["response"].tolist(), positive, parameters)


def _score_left_out(
    rows: "pd.DataFrame", kind: str, parameters: TextClassifierParameters
) -> "list[pd.DataFrame]":
    folds, families = rows["prompt"].map(prompt_fold), rows["family"]
    tables = []
    for family in families.dropna().unique():
        for fold in range(_PROMPT_FOLDS):
            own = rows[(families == family) & (folds == fold)]
            others = rows[(families != family) & (folds != fold)]
            if own.empty:
                continue
            if others["label"].eq("negative").nunique() < 2:
                raise TooFewLabelsError(
                    f"{kind}: {len(others)} labelled responses are left to score {len(own)} of {family} by, of other families to other "
                    f"prompts, and they are not of both labels. {_FIXES[kind].capitalize()}"
                )
            classifier = _fit(others, parameters)
            scores = text_classifier.score(classifier, own["prompt"].tolist(), own["response"].tolist())
            scored = own[["response_id"]].assign(kind=kind, score=scores)
            tables.append(scored[["kind", "response_id", "score"]])
    return tables


def _check_enough(rows: "pd.DataFrame", kind: str) -> None:
    positives = int((rows["label"] != "negative").sum())
    negatives = len(rows) - positives
    if min(positives, negatives) < _ENOUGH:
        raise TooFewLabelsError(
            f"{kind}: {positives} positive and {negatives} negative labelled responses are left to fit it to, at least {_ENOUGH} of "
            f"each are needed. {_FIXES[kind].capitalize()}; or do without: judging.judges.<its name>: null (docs/judges.md)"
        )

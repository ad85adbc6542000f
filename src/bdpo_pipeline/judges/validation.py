"""How well judges agree with labels: accuracy, kappa, AUC, confusion, calibration."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .base import Count, Judge, judge_answers
from .labels import MEASURED_BY, XSTEST, choose_labelled
from .trained import TrainedJudge

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("judge", "measures", "label_set", "how", "responses", "positives", "accuracy", "kappa", "auc"),
    *("true_positives", "false_positives", "true_negatives", "false_negatives", "brier", "calibration_error"),
    *("without_verdict", "partial", "partial_positive", "settings"),
)
# What kept a judge from the labels that measure it.
_TWINS = "the models and prompts that the phrases were chosen on, with other system prompts"
_LEFT_OUT = "model families and prompts left out of the fit"
BINS = 10
OTHER_SETTINGS = "not measured with these settings"


def judge_labelled(
    labelled: "pd.DataFrame",
    judges: Mapping[str, Judge],
    counts: Mapping[str, Count],
    left_out_scores: "pd.DataFrame",
    seed: int,
) -> "pd.DataFrame":
    """Let every judge judge labelled responses that it was not made with.

    Args:
        labelled: `labelled_responses` (docs/artifacts.md).
        judges: by name.
        counts: responses of each set that a judge is measured on: all, a number, or null for none. They are chosen by a hash.
        left_out_scores: see `judges.training.train_classifiers`.
        seed: of the choice.

    Returns:
        One row for each judge and response: ``judge``, ``measures``, ``label_set``, ``how``, ``response_id``, ``label``,
        ``positive`` (nullable), ``score``.
    """
    import pandas as pd

    known = left_out_scores.set_index(["kind", "response_id"])["score"]
    tables = [
        _judge_set(
            labelled[labelled["label_set"] == label_set], name, judge, label_set, counts[name], known, seed
        )
        for name, judge in judges.items()
        for label_set in MEASURED_BY[judge.measures]
    ]
    columns = ["judge", "measures", "label_set", "how", "response_id", "label", "positive", "score"]
    filled = [table for table in tables if len(table)]
    found = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)
    return found[columns].astype({"positive": "boolean", "score": "float64"})


def measure_judges(judged: "pd.DataFrame", settings: Mapping[str, str]) -> "pd.DataFrame":
    """Return `judge_validation` (docs/artifacts.md) of what :func:`judge_labelled` returns.

    Partial refusals, which are neither, are counted apart, as are replies without a verdict. Kappa is Cohen's, AUC that of the scores,
    Brier the mean squared difference of score and label (scikit-learn's functions), the calibration error :func:`calibration_error`.

    Args:
        judged: one row for each judge and response.
        settings: of each judge, :func:`bdpo_pipeline.judges.registry.describe_settings`: whom the measurement is of.
    """
    import pandas as pd

    keys = ["judge", "measures", "label_set", "how"]
    rows = [
        {**dict(zip(keys, values, strict=True)), **_measure(group), "settings": settings[str(values[0])]}
        for values, group in judged.groupby(keys, sort=False)
    ]
    counts = ["responses", "positives", "without_verdict", "partial", "partial_positive"]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(counts, "int64"))


def calibration_error(scores: Sequence[float], labels: Sequence[bool], bins: int = BINS) -> float:
    """Return the expected calibration error: the mean, over responses, of |share of positives - mean score| in bins of equal width.

    Source: Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning" (AAAI 2015).
    """
    return float(
        sum(count * abs(share - mean) for mean, share, count in reliability(scores, labels, bins))
        / len(labels)
    )


def reliability(
    scores: Sequence[float], labels: Sequence[bool], bins: int = BINS
) -> list[tuple[float, float, int]]:
    """Return mean score, share of positives and number of responses of each bin that has any, from low scores to high."""
    import numpy as np

    values, truth = np.asarray(scores, dtype=float), np.asarray(labels, dtype=float)
    places = np.minimum((values * bins).astype(int), bins - 1)
    return [
        (float(values[places == i].mean()), float(truth[places == i].mean()), int((places == i).sum()))
        for i in range(bins)
        if (places == i).any()
    ]


def measured_accuracy(judge_validation: "pd.DataFrame", judge: str, settings: str) -> tuple[float, str]:
    """Return a judge's accuracy on the first set that says something of it, and on what it was measured, in words.

    Args:
        judge_validation: docs/artifacts.md.
        judge: its name.
        settings: what :func:`bdpo_pipeline.judges.registry.describe_settings` says of it now.

    Returns:
        NaN and ``not measured`` where there is no such set; NaN and ``not measured with these settings`` where the judge that was
        measured under the name had others.
    """
    import math

    rows = judge_validation[judge_validation["judge"] == judge]
    if len(rows) and (rows["settings"] != settings).any():
        return math.nan, OTHER_SETTINGS
    for label_set in MEASURED_BY[rows["measures"].iloc[0]] if len(rows) else ():
        for row in rows[rows["label_set"] == label_set].to_dict("records"):
            if row["responses"]:
                return float(row["accuracy"]), f"{row['responses']} {label_set}, {row['how']}"
    return math.nan, "not measured"


def _judge_set(
    rows: "pd.DataFrame",
    name: str,
    judge: Judge,
    label_set: str,
    count: Count,
    left_out_scores: "pd.Series[float]",
    seed: int,
) -> "pd.DataFrame":
    seen = judge.seen.get(label_set, frozenset())
    rows = rows[~rows["model"].isin(list(seen))]
    rows = choose_labelled(rows, None if count == "all" else count or 0, seed)
    how = _TWINS if seen else "no response seen"
    if isinstance(judge, TrainedJudge) and (judge.kind, label_set) == ("refusal_classifier", XSTEST):
        how = _LEFT_OUT
        verdicts = judge.verdicts([float(left_out_scores[judge.kind, i]) for i in rows["response_id"]])
    else:
        if isinstance(judge, TrainedJudge):
            how = "prompts not trained on"
        verdicts = judge_answers(judge, rows["prompt"].tolist(), rows["response"].tolist())
    judged = rows[["label_set", "response_id", "label"]].assign(judge=name, measures=judge.measures, how=how)
    judged["positive"] = [verdict.positive for verdict in verdicts]
    judged["score"] = [verdict.score for verdict in verdicts]
    return judged


def _measure(group: "pd.DataFrame") -> dict[str, Any]:
    import numpy as np
    from sklearn.metrics import brier_score_loss, cohen_kappa_score, roc_auc_score

    partial = group[(group["label"] == "partial") & group["positive"].notna()]
    clear = group[(group["label"] != "partial") & group["positive"].notna()]
    truth = (clear["label"] == "positive").to_numpy(dtype=bool)
    said = clear["positive"].to_numpy(dtype=bool)
    found: dict[str, Any] = {
        "responses": len(clear),
        "positives": int(truth.sum()),
        "true_positives": int((said & truth).sum()),
        "false_positives": int((said & ~truth).sum()),
        "true_negatives": int((~said & ~truth).sum()),
        "false_negatives": int((~said & truth).sum()),
        "without_verdict": int(group["positive"].isna().sum()),
        "partial": len(partial),
        "partial_positive": int(partial["positive"].sum()),
    }
    if len(clear):
        found["accuracy"] = float((said == truth).mean())
    if truth.any() and not truth.all():
        found["kappa"] = float(cohen_kappa_score(truth, said))
        scores = clear["score"].to_numpy(dtype=float)
        if not np.isnan(scores).any():
            found["auc"] = float(roc_auc_score(truth, scores))
            found["brier"] = float(brier_score_loss(truth, scores))
            found["calibration_error"] = calibration_error(list(scores), list(truth))
    return found

"""Judges that were fitted to labelled responses, by the pipeline `judges`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bdpo_pipeline.io.tensors import StoredTensors

from .base import JudgeError, Measures, Resources, ThresholdOptions, Verdict
from .text_classifier import score


@dataclass(frozen=True)
class TrainedJudge:
    """A text classifier as a judge; the evidence is its score."""

    kind: str
    measures: Measures
    options: ThresholdOptions
    classifier: StoredTensors
    seen: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def judge(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        """Return one verdict a response."""
        return self.verdicts(list(score(self.classifier, prompts, responses)))

    def verdicts(self, scores: Sequence[float]) -> list[Verdict]:
        """Return the verdicts for scores, also those of a classifier that was fitted without the responses."""
        return [Verdict(bool(one >= self.options.threshold), float(one), f"{one:.2f}") for one in scores]


def build_trained(
    kind: str, measures: Measures, options: ThresholdOptions, resources: Resources
) -> TrainedJudge:
    """Return the judge over the classifier of its kind.

    Raises:
        JudgeError: it was not trained.
    """
    classifier = resources.classifiers.get(kind)
    if classifier is None or not classifier.arrays:
        raise JudgeError(
            f"the {kind} was not trained: run the pipeline `judges` with a judge of this kind in judging.judges"
        )
    return TrainedJudge(kind, measures, options, classifier)

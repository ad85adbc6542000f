"""A judge of refusals that was fitted to people's labels of XSTest completions; a partial refusal counts as a refusal."""

from .base import Resources, ThresholdOptions
from .trained import TrainedJudge, build_trained


class Options(ThresholdOptions):
    """Options of the refusal classifier."""


def build(options: Options, resources: Resources) -> TrainedJudge:
    """Return the judge; a positive verdict says that the response refuses."""
    return build_trained("refusal_classifier", "refusal", options, resources)

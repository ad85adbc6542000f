"""A judge of safety that was fitted to people's labels of responses of preference pairs, PKU-SafeRLHF by default."""

from .base import Resources, ThresholdOptions
from .trained import TrainedJudge, build_trained


class Options(ThresholdOptions):
    """Options of the safety classifier."""


def build(options: Options, resources: Resources) -> TrainedJudge:
    """Return the judge; a positive verdict says that the response is safe."""
    return build_trained("safety_classifier", "safety", options, resources)

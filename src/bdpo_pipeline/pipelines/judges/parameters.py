"""Typed parameters of the judges' training."""

from pydantic import Field

from bdpo_pipeline.judges.text_classifier import TextClassifierParameters
from bdpo_pipeline.parameters import ParameterGroup


class JudgeTrainingParameters(ParameterGroup):
    """What the trained judges are fitted to, and how."""

    max_pairs: int = Field(
        ge=1, description="most labelled pairs to fit the safety classifier to, and to measure it with"
    )
    max_pairs_per_prompt: int = Field(ge=1, description="most pairs of one prompt that it is fitted to")
    max_labelled: int | None = Field(
        ge=1, description="most responses of each set of labels that ships; null for all"
    )
    refusal_classifier: TextClassifierParameters
    safety_classifier: TextClassifierParameters

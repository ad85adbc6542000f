"""Parameters of ingestion; conf/base/parameters_ingestion.yml explains them to users."""

from typing import Self

from pydantic import Field, model_validator

from bdpo_pipeline.benchmarks.sources import EvaluationPromptSet
from bdpo_pipeline.parameters import ParameterGroup
from bdpo_pipeline.preferences.policy import Preference
from bdpo_pipeline.preferences.sources import PreferenceSource


class IngestionParameters(ParameterGroup):
    """What is read, and what is preferred."""

    preference: Preference
    sources: list[PreferenceSource] = Field(min_length=1)
    max_quarantined_share: float = Field(ge=0, le=1, description="of the rows of a source")
    max_row_bytes: int = Field(gt=0, description="a longer row of a text file is quarantined unread")
    evaluation_prompts: list[EvaluationPromptSet] = Field(
        description="every set that the model will be asked"
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        for kind, items in (("sources", self.sources), ("evaluation_prompts", self.evaluation_prompts)):
            names = [item.name for item in items]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{kind}: the name {twice[0]!r} is used twice")
        return self

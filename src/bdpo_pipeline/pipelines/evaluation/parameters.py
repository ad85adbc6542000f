"""Typed parameters of the evaluation."""

from typing import Any

from pydantic import Field, field_validator

from bdpo_pipeline.endpoints import EndpointParameters
from bdpo_pipeline.judges.registry import build_judge
from bdpo_pipeline.parameters import ParameterGroup


class HeldoutMetricsParameters(ParameterGroup):
    """How held-out preference accuracy and margin are summarised."""

    resamples: int = Field(ge=100, description="bootstrap resamples of prompts for each interval")
    minimum_category_pairs: int = Field(ge=1, description="a harm category with fewer pairs gets no row")


class GenerationParameters(ParameterGroup):
    """What is answered, and how; decoding is greedy."""

    prompts: dict[str, int | None] = Field(description="prompts of each set, null for all")
    max_new_tokens: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    endpoint: EndpointParameters | None = Field(description="a server that answers in place of a worker")


class JudgingParameters(ParameterGroup):
    """Who judges the generations."""

    judges: dict[str, dict[str, Any]] = Field(
        min_length=1, description="judges by name, each with its options ({} for its defaults)"
    )

    @field_validator("judges")
    @classmethod
    def _can_be_built(cls, judges: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, options in judges.items():
            build_judge(name, options)
        return judges

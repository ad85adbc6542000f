"""Typed parameters of the evaluation."""

from pydantic import Field

from bdpo_pipeline.benchmarks.choice import PromptNumbers
from bdpo_pipeline.endpoints import EndpointParameters
from bdpo_pipeline.parameters import ParameterGroup


class HeldoutMetricsParameters(ParameterGroup):
    """How held-out preference accuracy and margin are summarised."""

    resamples: int = Field(ge=100, description="bootstrap resamples of prompts for each interval")
    minimum_category_pairs: int = Field(ge=1, description="a harm category with fewer pairs gets no row")


class GenerationParameters(ParameterGroup):
    """What is answered, and how; decoding is greedy."""

    prompts: PromptNumbers = Field(description="prompts of each set, null for all, 0 for none")
    max_new_tokens: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    endpoint: EndpointParameters | None = Field(description="a server that answers in place of a worker")

"""Typed parameters of the attack; conf/base/parameters_attack.yml explains them to users."""

from typing import Literal

from pydantic import Field, field_validator

from bdpo_pipeline.benchmarks.choice import PromptNumbers
from bdpo_pipeline.parameters import ParameterGroup

Model = Literal["base", "adapter"]


class AttackParameters(ParameterGroup):
    """Who is attacked with what, and how hard."""

    prompts: PromptNumbers = Field(
        description="behaviours of each set that has targets, null for all, 0 for none"
    )
    models: list[Model] = Field(min_length=1, description="who is attacked")
    steps: int = Field(gt=0, description="of the search, for each suffix")
    search_width: int = Field(gt=0, description="candidates of a step")
    top_k: int = Field(gt=0, description="tokens that are tried for each place")
    first_suffix: str = Field(
        min_length=1, description="what the search begins with; gives the suffix its length"
    )

    @field_validator("prompts")
    @classmethod
    def _somebody_is_attacked(cls, prompts: PromptNumbers) -> PromptNumbers:
        if all(number == 0 for number in prompts.values()):
            raise ValueError(f"found {prompts}; accepted: at least one set with behaviours")
        return prompts

    @field_validator("models")
    @classmethod
    def _can_be_compared(cls, models: list[Model]) -> list[Model]:
        if "base" not in models or len(set(models)) < len(models):
            raise ValueError(
                f"found {models}; accepted: [base, adapter] or [base]: attacks on the adapter are judged beside those on the base"
            )
        return models

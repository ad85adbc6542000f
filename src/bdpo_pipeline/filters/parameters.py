"""Parameters of single filters; conf/base/parameters_filtering.yml explains them to users."""

from typing import Literal, Self

from pydantic import Field, model_validator

from bdpo_pipeline.parameters import ParameterGroup

UnsafeChosenPolicy = Literal["keep", "swap", "drop"]


class LengthBounds(ParameterGroup):
    """Bounds in tokens, ends included; the chat template's tokens and the end-of-turn token count."""

    max_prompt_tokens: int = Field(gt=0)
    min_response_tokens: int = Field(ge=1)
    max_response_tokens: int = Field(gt=0)


class Contamination(ParameterGroup):
    """When a training prompt counts as seen in an evaluation set."""

    ngram_words: int = Field(ge=2, description="a shared run of so many words is a hit")


class Similarity(ParameterGroup):
    """When two texts are near duplicates: Jaccard similarity of their runs of words, estimated by MinHash."""

    shingle_words: int = Field(ge=1)
    threshold: float = Field(ge=0.6, le=1)


class SplitShares(ParameterGroup):
    """Shares of prompts, by a hash of seed and prompt."""

    validation_share: float = Field(ge=0, lt=1, description="of all prompts that are not held out")
    heldout_share: float = Field(
        ge=0, lt=1, description="of prompts that no source declares train or heldout"
    )
    judges_share: float = Field(
        0.0, ge=0, lt=1, description="of prompts that are not held out, left to the training of judges"
    )

    @model_validator(mode="after")
    def _leave_training(self) -> Self:
        if self.validation_share + self.heldout_share >= 1:
            raise ValueError(
                "validation_share + heldout_share must stay below 1, or nothing is left for training"
            )
        return self


class SplitSize(ParameterGroup):
    """What a split is cut down to; null means no bound."""

    max_pairs: int | None = Field(gt=0)
    max_pairs_per_prompt: int | None = Field(gt=0)
    unsafe_query_share: float | None = Field(ge=0, le=1, description="of pairs whose labels are known")


class FilteringParameters(ParameterGroup):
    """All that decides which pairs are used."""

    unsafe_chosen: UnsafeChosenPolicy
    length: LengthBounds
    contamination: Contamination
    near_duplicates: Similarity
    prompt_leak: Similarity
    split: SplitShares
    train: SplitSize
    validation: SplitSize
    heldout: SplitSize

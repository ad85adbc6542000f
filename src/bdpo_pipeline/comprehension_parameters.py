"""The `comprehension` parameter group, shared by the reference pass and the training that follows comprehension."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from bdpo_pipeline.parameters import ParameterGroup

if TYPE_CHECKING:
    from bdpo_pipeline.objectives.weighting import Weighting

# Contexts that stand for no query and are the same for every response.
SINGLE_CONTEXT = ("empty_prompt", "bos")


class ComprehensionParameters(ParameterGroup):
    """How mutual information is estimated and turned into coefficients; see ``conf/base/parameters_reference.yml``."""

    marginal: Literal["empty_prompt", "bos", "contrastive"]
    contrastive_queries: int = Field(gt=0)
    normalise: Literal["token", "none"]
    setting: Literal["full", "bw_only", "sf_only", "none"]
    weighting: Literal["inverse", "softmax"]
    scale: Literal["harmonic", "l2"]
    control: Literal["none", "shuffled", "reversed", "length"]
    floor: float = Field(gt=0)
    clip: tuple[float, float]
    online: bool

    @field_validator("clip")
    @classmethod
    def _clip_holds_a_half(cls, clip: tuple[float, float]) -> tuple[float, float]:
        if not 0 < clip[0] <= 0.5 <= clip[1] < 1:
            raise ValueError(
                f"clip = {list(clip)}: it takes a lower bound in (0, 0.5] and an upper bound in [0.5, 1)"
            )
        return clip

    @model_validator(mode="after")
    def _online_fits_the_rest(self) -> "ComprehensionParameters":
        if not self.online:
            return self
        if self.control not in ("none", "reversed"):
            raise ValueError(
                f"online = true with control = {self.control}: that control does not follow from the policy; use none or reversed"
            )
        if self.setting == "none":
            raise ValueError(
                "online = true with setting = none: all coefficients are 1, so there is nothing to follow"
            )
        if self.marginal not in SINGLE_CONTEXT:
            raise ValueError(
                f"online = true with marginal = {self.marginal}: that takes many passes in every step; "
                f"use {' or '.join(SINGLE_CONTEXT)}"
            )
        return self

    @property
    def needs_marginals(self) -> bool:
        """Whether the coefficients depend on mutual information at all."""
        return self.setting != "none" and self.control != "length"

    @property
    def can_be_followed(self) -> bool:
        """Whether comprehension can be measured under the policy, at one pass over the responses."""
        return self.needs_marginals and self.marginal in SINGLE_CONTEXT

    def weighting_of_pairs(self) -> "Weighting":
        """Return how comprehension becomes coefficients."""
        from bdpo_pipeline.objectives.weighting import Weighting

        return Weighting(self.setting, self.weighting, self.scale, self.floor, self.clip)

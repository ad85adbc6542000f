"""Parameters of the reference pipeline."""

from typing import Literal

from pydantic import Field, field_validator

from bdpo_pipeline.parameters import ParameterGroup


class TokenisationParameters(ParameterGroup):
    """Truncation bounds in tokens; the one place where anything is cut."""

    max_prompt_tokens: int = Field(gt=0)
    max_response_tokens: int = Field(gt=0)
    max_truncated_share: float = Field(ge=0, le=1)


class ComprehensionParameters(ParameterGroup):
    """How mutual information is estimated and turned into coefficients; see ``conf/base/parameters_reference.yml``."""

    marginal: Literal["empty_prompt", "bos"]
    normalise: Literal["token", "none"]
    setting: Literal["full", "bw_only", "sf_only", "none"]
    weighting: Literal["inverse", "softmax"]
    scale: Literal["harmonic", "l2"]
    control: Literal["none", "shuffled", "reversed", "length"]
    floor: float = Field(gt=0)
    clip: tuple[float, float]

    @field_validator("clip")
    @classmethod
    def _clip_holds_a_half(cls, clip: tuple[float, float]) -> tuple[float, float]:
        if not 0 < clip[0] <= 0.5 <= clip[1] < 1:
            raise ValueError(
                f"clip = {list(clip)}: it takes a lower bound in (0, 0.5] and an upper bound in [0.5, 1)"
            )
        return clip

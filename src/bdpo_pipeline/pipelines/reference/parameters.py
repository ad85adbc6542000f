"""Parameters of the reference pipeline."""

from pydantic import Field

from bdpo_pipeline.parameters import ParameterGroup


class TokenisationParameters(ParameterGroup):
    """Truncation bounds in tokens; the one place where anything is cut."""

    max_prompt_tokens: int = Field(gt=0)
    max_response_tokens: int = Field(gt=0)
    max_truncated_share: float = Field(ge=0, le=1)

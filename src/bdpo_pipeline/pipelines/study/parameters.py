"""Typed parameters of the study; `bdpo_pipeline.arms` has those that its graph follows from."""

from pydantic import Field

from bdpo_pipeline.parameters import ParameterGroup


class ChoiceParameters(ParameterGroup):
    """How the point of the grid is chosen that an arm goes on with."""

    prompts: int = Field(gt=0, description="prompts of validation pairs that every trial answers")
    responses: int = Field(gt=0, description="helpful responses that every trial's model scores")
    judge: str = Field(description="a judge of `judging.judges` that measures safety; its mean score decides")
    max_helpful_loss: float = Field(
        ge=0,
        description="nats a token by which helpful responses may become less likely than under the base model",
    )


class ScoredPairsParameters(ParameterGroup):
    """Which pairs are scored again after training."""

    train: int | None = Field(gt=0, description="training pairs, null for all; held-out pairs always are")

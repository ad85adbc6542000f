"""Parameters of the training pipeline."""

from typing import Literal

from pydantic import Field

from bdpo_pipeline.parameters import ParameterGroup


class LoraParameters(ParameterGroup):
    """The LoRA adapter, in PEFT's words."""

    r: int = Field(gt=0)
    alpha: int = Field(gt=0)
    dropout: float = Field(ge=0, lt=1)
    target_modules: str | list[str]


class OptimiserParameters(ParameterGroup):
    """AdamW and its schedule."""

    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warmup_share: float = Field(ge=0, le=1)
    schedule: Literal["cosine", "linear", "constant_with_warmup"]
    max_grad_norm: float = Field(gt=0)
    epsilon: float = Field(gt=0)


class TrainingParameters(ParameterGroup):
    """How the adapter is trained; see ``conf/base/parameters_training.yml``."""

    lora: LoraParameters | None
    optimiser: OptimiserParameters
    epochs: int = Field(gt=0)
    pairs_per_step: int = Field(gt=0)
    evaluate_every: int = Field(gt=0)
    early_stopping_patience: int | None = Field(gt=0)
    checkpoint_every: int = Field(gt=0)

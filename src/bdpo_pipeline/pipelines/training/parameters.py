"""Parameters of the training pipeline."""

from typing import Any, Literal

from pydantic import Field, model_validator

from bdpo_pipeline.parameters import ParameterGroup


class ObjectiveParameters(ParameterGroup):
    """The objective and its options; options left out take the objective's defaults."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _objective_knows_its_options(self) -> "ObjectiveParameters":
        # Imported here, because it imports torch, and only a run of this pipeline should pay for that.
        from bdpo_pipeline.objectives import resolve_options

        resolve_options(self.name, self.options)
        return self


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


class TrainingParameters(ParameterGroup):
    """How the adapter is trained; see ``conf/base/parameters_training.yml``."""

    lora: LoraParameters
    optimiser: OptimiserParameters
    epochs: int = Field(gt=0)
    pairs_per_step: int = Field(gt=0)
    evaluate_every: int = Field(gt=0)
    early_stopping_patience: int | None = Field(gt=0)
    checkpoint_every: int = Field(gt=0)

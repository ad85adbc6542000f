"""Node of the base model."""

from typing import Any

from bdpo_pipeline.models.prepare import ModelSource
from bdpo_pipeline.models.prepare import prepare_base_model as prepare
from bdpo_pipeline.pipelines.base_model.parameters import BaseModelParameters


def prepare_base_model(parameters: BaseModelParameters) -> dict[str, Any]:
    """Find the base model, convert it once if need be, and return where it lies with its fingerprints."""
    wanted = ModelSource(**parameters.model_dump(exclude={"store"}))
    return prepare(wanted, parameters.store)

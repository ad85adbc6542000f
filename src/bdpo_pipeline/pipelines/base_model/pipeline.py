"""The base model graph."""

from kedro.pipeline import Pipeline, node

from .nodes import prepare_base_model


def create_pipeline() -> Pipeline:
    """Return the pipeline that prepares the base model."""
    return Pipeline(
        [node(prepare_base_model, "params:base_model", "base_model", name="prepare_base_model")],
        tags="base_model",
    )

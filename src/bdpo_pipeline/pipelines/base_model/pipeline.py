"""The base_model graph."""

from kedro.pipeline import Pipeline


def create_pipeline() -> Pipeline:
    """Return the base_model pipeline."""
    return Pipeline([])

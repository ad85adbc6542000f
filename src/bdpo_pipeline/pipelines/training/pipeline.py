"""The training graph."""

from kedro.pipeline import Pipeline


def create_pipeline() -> Pipeline:
    """Return the training pipeline."""
    return Pipeline([])

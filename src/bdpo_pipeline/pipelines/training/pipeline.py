"""The training graph."""

from kedro.pipeline import Pipeline, node

from .nodes import train_adapter


def create_pipeline() -> Pipeline:
    """Return the pipeline that trains the adapter."""
    return Pipeline(
        [
            node(
                train_adapter,
                [
                    "base_model",
                    "tokenised_pairs",
                    "reference_logps",
                    "comprehension",
                    "params:objective",
                    "params:comprehension",
                    "params:training",
                    "params:compute",
                    "params:seed",
                ],
                ["adapter", "training_history", "training_summary", "training_execution"],
                name="train_adapter",
            )
        ],
        tags="training",
    )

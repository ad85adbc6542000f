"""The filtering graph."""

from kedro.pipeline import Pipeline, node

from .nodes import select_pairs


def create_pipeline() -> Pipeline:
    """Return the filtering pipeline."""
    return Pipeline(
        [
            node(
                select_pairs,
                ["preference_pairs", "evaluation_prompts", "base_model", "params:filtering", "params:seed"],
                ["training_pairs", "validation_pairs", "heldout_pairs", "dropped_pairs", "filtering_funnel"],
                name="select_pairs",
            )
        ]
    )

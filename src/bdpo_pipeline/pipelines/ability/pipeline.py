"""The ability graph."""

from kedro.pipeline import Node, Pipeline

from .nodes import measure_ability, summarise_ability


def create_pipeline() -> Pipeline:
    """Return the ability pipeline: items answered and scored by the base model and the trained one, summarised and compared."""
    return Pipeline(
        [
            Node(
                measure_ability,
                inputs=[
                    "base_model",
                    "adapter",
                    "raw_data",
                    "params:ability",
                    "params:compute",
                    "params:seed",
                ],
                outputs="ability_results",
                name="measure_ability",
            ),
            Node(
                summarise_ability,
                inputs=["ability_results", "params:ability", "params:seed"],
                outputs="ability_metrics",
                name="summarise_ability",
            ),
        ]
    )

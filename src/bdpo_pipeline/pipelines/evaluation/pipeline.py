"""The evaluation graph."""

from kedro.pipeline import Node, Pipeline

from .nodes import judge_generations, measure_heldout, summarise_judgements


def create_pipeline() -> Pipeline:
    """Return the evaluation pipeline: held-out pairs and safety prompts, measured and judged."""
    return Pipeline(
        [
            Node(
                measure_heldout,
                inputs=["heldout_scores", "heldout_pairs", "params:heldout_metrics", "params:seed"],
                outputs="heldout_metrics",
                name="measure_heldout",
            ),
            Node(
                judge_generations,
                inputs=["generations", "params:judging"],
                outputs="judgements",
                name="judge_generations",
            ),
            Node(
                summarise_judgements,
                inputs="judgements",
                outputs="safety_metrics",
                name="summarise_judgements",
            ),
        ]
    )

"""The evaluation graph."""

from kedro.pipeline import Node, Pipeline

from .nodes import (
    generate_responses,
    judge_generations,
    measure_heldout,
    score_heldout,
    summarise_judgements,
)


def create_pipeline() -> Pipeline:
    """Return the evaluation pipeline: held-out pairs and safety prompts, measured and judged."""
    return (
        Pipeline(
            [
                Node(
                    score_heldout,
                    inputs=[
                        "base_model",
                        "adapter",
                        "tokenised_pairs",
                        "reference_logps",
                        "training_summary",
                        "params:compute",
                    ],
                    outputs="heldout_scores",
                    name="score_heldout",
                ),
                Node(
                    generate_responses,
                    inputs=[
                        "base_model",
                        "adapter",
                        "evaluation_prompts",
                        "params:generation",
                        "params:compute",
                        "params:seed",
                    ],
                    outputs="generations",
                    name="generate_responses",
                ),
                Node(
                    measure_heldout,
                    inputs=["heldout_scores", "heldout_pairs", "params:heldout_metrics", "params:seed"],
                    outputs="heldout_metrics",
                    name="measure_heldout",
                ),
                Node(
                    summarise_judgements,
                    inputs=["judgements", "generations"],
                    outputs="safety_metrics",
                    name="summarise_judgements",
                ),
            ]
        )
        + create_judging_pipeline()
    )


def create_judging_pipeline() -> Pipeline:
    """Return the pipeline from generations to judgements, by the judges that the pipeline `judges` has measured."""
    judge = Node(
        judge_generations,
        inputs=[
            "generations",
            "judge_validation",
            "refusal_classifier",
            "safety_classifier",
            "raw_data",
            "params:judging",
            "params:compute",
        ],
        outputs="judgements",
        name="judge_generations",
    )
    return Pipeline([judge])

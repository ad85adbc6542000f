"""The judges' graph."""

from kedro.pipeline import Node, Pipeline

from .nodes import gather_labelled_responses, plot_judges, train_judges, validate_judges


def create_pipeline() -> Pipeline:
    """Return the pipeline from labelled responses to trained judges and the measured accuracy of all judges."""
    return Pipeline(
        [
            Node(
                gather_labelled_responses,
                inputs=[
                    "raw_data",
                    "preference_pairs",
                    "training_pairs",
                    "validation_pairs",
                    "heldout_pairs",
                    "evaluation_prompts",
                    "params:judge_training",
                    "params:filtering",
                    "params:seed",
                ],
                outputs="labelled_responses",
                name="gather_labelled_responses",
            ),
            Node(
                train_judges,
                inputs=["labelled_responses", "params:judge_training", "params:judging"],
                outputs=["refusal_classifier", "safety_classifier", "left_out_scores"],
                name="train_judges",
            ),
            Node(
                validate_judges,
                inputs=[
                    "labelled_responses",
                    "refusal_classifier",
                    "safety_classifier",
                    "left_out_scores",
                    "raw_data",
                    "params:judging",
                    "params:compute",
                    "params:seed",
                ],
                outputs=["validation_judgements", "judge_validation"],
                name="validate_judges",
            ),
            Node(
                plot_judges,
                inputs=["validation_judgements", "judge_validation"],
                outputs=["judge_reliability", "judge_confusion"],
                name="plot_judges",
            ),
        ],
        tags="judges",
    )

"""The reporting graph."""

from kedro.pipeline import Node, Pipeline

from .nodes import gather_artifacts, write_model_card, write_report

_GATHERED = [
    "ingestion_summary",
    "filtering_funnel",
    "reference_report",
    "comprehension",
    "comprehension_diagnostics",
    "reference_logps",
    "training_history",
    "training_summary",
    "training_execution",
    "heldout_metrics",
    "safety_metrics",
    "ability_metrics",
    "generations",
    "judgements",
    "judge_validation",
    "base_model",
    "parameters",
]


def create_pipeline() -> Pipeline:
    """Return the reporting pipeline: everything to a report page and a model card."""
    return Pipeline(
        [
            Node(gather_artifacts, inputs=_GATHERED, outputs="run_artifacts", name="gather_artifacts"),
            Node(
                write_report,
                inputs=["run_artifacts", "params:reporting", "params:seed"],
                outputs="report",
                name="write_report",
            ),
            Node(write_model_card, inputs="run_artifacts", outputs="model_card", name="write_model_card"),
        ]
    )

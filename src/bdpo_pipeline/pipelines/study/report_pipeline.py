"""The graph of the study's report: what arms and seeds made, compared and shown."""

from kedro.pipeline import Node, Pipeline

from . import report_nodes as nodes

_PARAMETERS = ["params:study_report", "params:seed"]
_TABLES = ["study_trials", "study_judgements", "study_ability", "study_scores"]
_CONCLUSIONS = [
    "study_comparison",
    "study_categories",
    "study_overfitting",
    "study_imbalance",
    "study_subsets",
]


def create_report_pipeline() -> Pipeline:
    """Return the pipeline from the study's tables to its conclusions and pages."""
    return Pipeline(
        [
            Node(
                nodes.compare_arms,
                [*_TABLES, *_PARAMETERS],
                ["study_comparison", "study_categories"],
                name="compare_arms",
            ),
            Node(
                nodes.measure_overfitting,
                ["study_trials", "study_scores", *_PARAMETERS],
                "study_overfitting",
                name="measure_overfitting",
            ),
            Node(
                nodes.measure_imbalance,
                ["study_scores", *_PARAMETERS],
                "study_imbalance",
                name="measure_imbalance",
            ),
            Node(nodes.compare_subsets, [*_TABLES, *_PARAMETERS], "study_subsets", name="compare_subsets"),
            Node(
                nodes.write_study,
                [
                    *("study_trials", "study_trainings", *_CONCLUSIONS),
                    *("base_model", "params:study_report", "parameters"),
                ],
                ["study_page", "study_markdown"],
                name="write_study",
            ),
        ]
    )

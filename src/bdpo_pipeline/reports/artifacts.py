"""The artifacts that a report speaks of, in one place."""

from dataclasses import dataclass
from typing import Any

from bdpo_pipeline.tables import DataFrame


@dataclass(frozen=True)
class RunArtifacts:
    """What one run made, each as docs/artifacts.md describes it, and what it ran with.

    `parameters` are all parameters of the run by dotted name; `provenance` are label and text, such as the git commit.
    """

    ingestion_summary: list[dict[str, Any]]
    filtering_funnel: DataFrame
    reference_report: dict[str, Any]
    comprehension: DataFrame
    comprehension_diagnostics: dict[str, Any]
    reference_logps: DataFrame
    training_history: DataFrame
    training_summary: dict[str, Any]
    training_execution: dict[str, Any]
    heldout_metrics: DataFrame
    safety_metrics: DataFrame
    ability_metrics: DataFrame
    generations: DataFrame
    judgements: DataFrame
    judge_validation: DataFrame
    base_model: dict[str, Any]
    parameters: dict[str, str]
    provenance: dict[str, str]

"""Nodes of the reporting: gather what a run made, render it."""

from typing import Any

from bdpo_pipeline.lineage.parameter_names import flatten
from bdpo_pipeline.lineage.provenance import provenance
from bdpo_pipeline.reports.artifacts import RunArtifacts
from bdpo_pipeline.reports.model_card import render_model_card
from bdpo_pipeline.reports.page import render_report
from bdpo_pipeline.tables import DataFrame

from .parameters import ReportingParameters


def gather_artifacts(
    ingestion_summary: list[dict[str, Any]],
    filtering_funnel: DataFrame,
    reference_report: dict[str, Any],
    comprehension: DataFrame,
    comprehension_diagnostics: dict[str, Any],
    reference_logps: DataFrame,
    training_history: DataFrame,
    training_summary: dict[str, Any],
    training_execution: dict[str, Any],
    heldout_metrics: DataFrame,
    safety_metrics: DataFrame,
    ability_metrics: DataFrame,
    generations: DataFrame,
    judgements: DataFrame,
    judge_validation: DataFrame,
    base_model: dict[str, Any],
    parameters: dict[str, Any],
) -> RunArtifacts:
    """Put what a run made and what it ran with into one place; parameters become flat, with secrets masked."""
    flat = [pair for name, value in parameters.items() for pair in flatten(name, value).items()]
    return RunArtifacts(
        ingestion_summary=ingestion_summary,
        filtering_funnel=filtering_funnel,
        reference_report=reference_report,
        comprehension=comprehension,
        comprehension_diagnostics=comprehension_diagnostics,
        reference_logps=reference_logps,
        training_history=training_history,
        training_summary=training_summary,
        training_execution=training_execution,
        heldout_metrics=heldout_metrics,
        safety_metrics=safety_metrics,
        ability_metrics=ability_metrics,
        generations=generations,
        judgements=judgements,
        judge_validation=judge_validation,
        base_model=base_model,
        parameters=dict(flat),
        provenance=provenance(),
    )


def write_report(run: RunArtifacts, parameters: ReportingParameters, seed: int) -> str:
    """Return the report page as self-contained HTML."""
    return render_report(run, parameters.title, parameters.samples_per_set, seed)


def write_model_card(run: RunArtifacts) -> str:
    """Return the model card as Markdown."""
    return render_model_card(run)

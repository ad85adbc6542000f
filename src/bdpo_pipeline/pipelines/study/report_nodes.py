"""Nodes of the study's report: from the study's tables to conclusions and pages."""

from typing import Any

from bdpo_pipeline.lineage.parameter_names import flatten
from bdpo_pipeline.lineage.provenance import provenance
from bdpo_pipeline.reports.study_page import render_study, render_study_markdown
from bdpo_pipeline.reports.study_words import StudyTables
from bdpo_pipeline.study import comparison, imbalance, overfitting, subsets
from bdpo_pipeline.study.rewards import reward_kinds
from bdpo_pipeline.tables import DataFrame

from .report_parameters import StudyReportParameters


def compare_arms(
    study_trials: DataFrame,
    study_judgements: DataFrame,
    study_ability: DataFrame,
    study_scores: DataFrame,
    parameters: StudyReportParameters,
    seed: int,
) -> tuple[DataFrame, DataFrame]:
    """Return `study_comparison` and `study_categories`: every arm beside the baseline."""
    asked: dict[str, Any] = {
        "baseline": parameters.baseline,
        "seed": seed,
        "resamples": parameters.resamples,
    }
    compared = comparison.compare(
        study_judgements, study_ability, study_scores, rewards=reward_kinds(study_trials), **asked
    )
    return compared, comparison.compare_categories(study_judgements, **asked)


def measure_overfitting(
    study_trials: DataFrame, study_scores: DataFrame, parameters: StudyReportParameters, seed: int
) -> DataFrame:
    """Return `study_overfitting`: training less held-out accuracy of every arm."""
    return overfitting.measure_overfitting(
        study_scores,
        baseline=parameters.baseline,
        seed=seed,
        resamples=parameters.resamples,
        rewards=reward_kinds(study_trials),
    )


def measure_imbalance(study_scores: DataFrame, parameters: StudyReportParameters, seed: int) -> DataFrame:
    """Return `study_imbalance`: held-out error by how unequally a pair's responses are comprehended."""
    return imbalance.measure_imbalance(
        study_scores, bins=parameters.imbalance_bins, seed=seed, resamples=parameters.resamples
    )


def compare_subsets(
    study_trials: DataFrame,
    study_judgements: DataFrame,
    study_ability: DataFrame,
    study_scores: DataFrame,
    parameters: StudyReportParameters,
    seed: int,
) -> DataFrame:
    """Return `study_subsets`: arms trained on balanced, imbalanced and random pairs, two by two."""
    return subsets.compare_subsets(
        study_judgements,
        study_ability,
        study_scores,
        subsets=parameters.subsets.model_dump(),
        seed=seed,
        resamples=parameters.resamples,
        rewards=reward_kinds(study_trials),
    )


def write_study(
    study_trials: DataFrame,
    study_trainings: DataFrame,
    study_comparison: DataFrame,
    study_categories: DataFrame,
    study_overfitting: DataFrame,
    study_imbalance: DataFrame,
    study_subsets: DataFrame,
    base_model: dict[str, Any],
    report: StudyReportParameters,
    parameters: dict[str, Any],
) -> tuple[str, str]:
    """Return the study's page, self-contained HTML, and the same in Markdown without plots."""
    tables = StudyTables(
        study_trials,
        study_trainings,
        study_comparison,
        study_categories,
        study_overfitting,
        study_imbalance,
        study_subsets,
    )
    made = provenance()
    facts = {
        "title": report.title,
        "baseline": report.baseline,
        "made": made["made"],
        "base_model": base_model["name"],
        "provenance": {**made, "weights of the base model (SHA-256)": base_model["weights_sha256"]},
        "parameters": dict(
            pair for name, value in parameters.items() for pair in flatten(name, value).items()
        ),
    }
    return render_study(tables, facts), render_study_markdown(tables, facts)

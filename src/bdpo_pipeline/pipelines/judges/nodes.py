"""Nodes of the judges: labelled responses in, trained judges and their measured accuracy out."""

from typing import Any

from bdpo_pipeline.compute import ComputeParameters
from bdpo_pipeline.filters.judge_responses import select_judge_responses
from bdpo_pipeline.filters.parameters import FilteringParameters
from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.io.tables import StoredTable
from bdpo_pipeline.io.tensors import StoredTensors
from bdpo_pipeline.judges.base import Resources
from bdpo_pipeline.judges.labels import choose_labelled, read_shipped
from bdpo_pipeline.judges.parameters import JudgingParameters
from bdpo_pipeline.judges.training import train_classifiers
from bdpo_pipeline.judges.validation import judge_labelled, measure_judges
from bdpo_pipeline.seeds import derive_seed
from bdpo_pipeline.tables import DataFrame, Figure

from .parameters import JudgeTrainingParameters


def gather_labelled_responses(
    raw_data: RawFolder,
    preference_pairs: StoredTable,
    training_pairs: StoredTable,
    validation_pairs: StoredTable,
    heldout_pairs: StoredTable,
    evaluation_prompts: StoredTable,
    parameters: JudgeTrainingParameters,
    filtering: FilteringParameters,
    seed: int,
) -> DataFrame:
    """Gather responses that carry labels: XSTest's, JailbreakBench's, and those of pairs that nothing else uses or that are held out."""
    import pandas as pd

    shipped = read_shipped(raw_data)
    of_pairs = select_judge_responses(
        preference_pairs,
        [training_pairs, validation_pairs],
        heldout_pairs,
        evaluation_prompts,
        sorted(set(shipped["prompt"])),
        filtering=filtering,
        max_pairs=parameters.max_pairs,
        max_pairs_per_prompt=parameters.max_pairs_per_prompt,
        seed=seed,
    )
    chosen = choose_labelled(shipped, parameters.max_labelled, derive_seed(seed, "judges.labelled"))
    return pd.concat([chosen, of_pairs], ignore_index=True)


def train_judges(
    labelled_responses: DataFrame, parameters: JudgeTrainingParameters, judging: JudgingParameters
) -> tuple[StoredTensors, StoredTensors, DataFrame]:
    """Fit the classifiers that the configured judges need, and score what they were fitted to by others that did not see it."""
    fitted, left_out = train_classifiers(
        labelled_responses,
        {
            "refusal_classifier": parameters.refusal_classifier,
            "safety_classifier": parameters.safety_classifier,
        },
        {configuration["kind"] for configuration in judging.configurations.values()},
    )
    return fitted["refusal_classifier"], fitted["safety_classifier"], left_out


def validate_judges(
    labelled_responses: DataFrame,
    refusal_classifier: StoredTensors,
    safety_classifier: StoredTensors,
    left_out_scores: DataFrame,
    raw_data: RawFolder,
    judging: JudgingParameters,
    compute: ComputeParameters,
    seed: int,
) -> tuple[DataFrame, DataFrame]:
    """Measure every configured judge against the labels that it was not made with."""
    resources = Resources(
        {"refusal_classifier": refusal_classifier, "safety_classifier": safety_classifier}, raw_data, compute
    )
    counts: dict[str, Any] = {name: one.validate_on for name, one in judging.options().items()}
    judged = judge_labelled(
        labelled_responses,
        judging.build(resources),
        counts,
        left_out_scores,
        derive_seed(seed, "judges.validation"),
    )
    return judged, measure_judges(judged, judging.settings(resources))


def plot_judges(validation_judgements: DataFrame, judge_validation: DataFrame) -> tuple[Figure, Figure]:
    """Draw how far scores can be taken for probabilities, and what each judge confuses."""
    from bdpo_pipeline.reports.judge_plots import confusion_plot, reliability_plot

    return reliability_plot(validation_judgements).figure, confusion_plot(judge_validation).figure

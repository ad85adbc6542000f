"""Nodes of the reference pipeline."""

from typing import Any

from bdpo_pipeline.compute import ComputeParameters
from bdpo_pipeline.io.tables import StoredTable
from bdpo_pipeline.pipelines.reference.parameters import ComprehensionParameters, TokenisationParameters
from bdpo_pipeline.reference import comprehension, logps, tokenisation
from bdpo_pipeline.seeds import derive_seed
from bdpo_pipeline.tables import DataFrame, Figure


def tokenise_pairs(
    base_model: dict[str, Any],
    training_pairs: StoredTable,
    validation_pairs: StoredTable,
    heldout_pairs: StoredTable,
    parameters: TokenisationParameters,
) -> DataFrame:
    """Turn the pairs of all splits into token ids, once."""
    tables = (training_pairs, validation_pairs, heldout_pairs)
    columns = ["pair_id", "split", "prompt", "chosen", "rejected"]
    rows = (row for table in tables for batch in table.batches(columns) for row in batch.to_pylist())
    return tokenisation.tokenise_pairs(
        base_model["path"], rows, tokenisation.Bounds(**parameters.model_dump())
    )


def score_reference(
    base_model: dict[str, Any],
    tokenised_pairs: DataFrame,
    parameters: ComprehensionParameters,
    compute: ComputeParameters,
) -> tuple[DataFrame, dict[str, Any]]:
    """Score both responses of every pair under the reference model, with their query and without."""
    return logps.score_reference(
        base_model,
        tokenised_pairs,
        marginal=parameters.marginal,
        compute=compute.for_engine(),
        cache=compute.reference_cache,
        scratch=compute.scratch,
    )


def compute_comprehension(
    reference_logps: DataFrame, parameters: ComprehensionParameters, seed: int
) -> tuple[DataFrame, dict[str, Any]]:
    """Turn log-probs into mutual information and coefficients."""
    weighting = comprehension.Weighting(**parameters.model_dump(exclude={"marginal"}))
    return comprehension.compute_comprehension(
        reference_logps, weighting, seed=derive_seed(seed, "comprehension.shuffled")
    )


def plot_comprehension(
    comprehension: DataFrame, reference_logps: DataFrame, seed: int
) -> tuple[Figure, Figure, Figure, Figure]:
    """Draw I of each side, its imbalance, I against length, and the shares that follow."""
    from bdpo_pipeline.reports.comprehension_plots import comprehension_plots

    plots = comprehension_plots(comprehension, reference_logps, seed=seed)
    return (
        plots["comprehension_by_side"].figure,
        plots["comprehension_imbalance"].figure,
        plots["comprehension_and_length"].figure,
        plots["chosen_share"].figure,
    )

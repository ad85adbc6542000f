"""Nodes of the reference pipeline."""

from typing import Any

from bdpo_pipeline.comprehension_parameters import ComprehensionParameters
from bdpo_pipeline.compute import ComputeParameters
from bdpo_pipeline.io.tables import StoredTable
from bdpo_pipeline.objective_parameters import ObjectiveParameters
from bdpo_pipeline.pipelines.reference.parameters import TokenisationParameters
from bdpo_pipeline.reference import comprehension, logps, marginals, tokenisation
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
    labels = [f"{side}_{label}" for side in ("chosen", "rejected") for label in ("is_safe", "severity")]
    columns = ["pair_id", "split", "prompt", "chosen", "rejected", *labels]
    rows = (row for table in tables for batch in table.batches(columns) for row in batch.to_pylist())
    return tokenisation.tokenise_pairs(
        base_model["path"], rows, tokenisation.Bounds(**parameters.model_dump())
    )


def score_reference(
    base_model: dict[str, Any],
    tokenised_pairs: DataFrame,
    objective: ObjectiveParameters,
    parameters: ComprehensionParameters,
    compute: ComputeParameters,
    seed: int,
) -> tuple[DataFrame, dict[str, Any]]:
    """Score both responses of every pair under the reference model, with their query and without, as far as the objective needs it."""
    bound = objective.bind()
    weighs = bound.needs_comprehension and parameters.needs_marginals
    return logps.score_reference(
        base_model,
        tokenised_pairs,
        conditional=bound.needs_reference,
        marginal=estimate_marginal(parameters, seed) if weighs else None,
        compute=compute.for_engine(),
        cache=compute.reference_cache,
        scratch=compute.scratch,
    )


def estimate_marginal(parameters: ComprehensionParameters, seed: int) -> marginals.Marginal:
    """Return how log-probs without the query are estimated."""
    return marginals.Marginal(
        parameters.marginal,
        parameters.contrastive_queries,
        derive_seed(seed, "comprehension.contrastive_queries"),
    )


def compute_comprehension(
    reference_logps: DataFrame,
    objective: ObjectiveParameters,
    parameters: ComprehensionParameters,
    seed: int,
) -> tuple[DataFrame, dict[str, Any]]:
    """Turn log-probs into mutual information and coefficients, if the objective needs them."""
    weighted = logps.WEIGHTED_SPLITS if objective.bind().needs_comprehension else ()
    return comprehension.compute_comprehension(
        reference_logps[reference_logps["split"].isin(weighted)],
        parameters.weighting_of_pairs(),
        normalise=parameters.normalise,
        control=parameters.control,
        seed=derive_seed(seed, "comprehension.shuffled"),
    )


def plot_comprehension(
    comprehension: DataFrame,
    reference_logps: DataFrame,
    objective: ObjectiveParameters,
    parameters: ComprehensionParameters,
    seed: int,
) -> tuple[Figure, ...]:
    """Draw I of each side, its imbalance, I against length, and the shares that follow; or say why there is none."""
    from bdpo_pipeline.reports.comprehension_plots import comprehension_figures

    return comprehension_figures(
        comprehension, reference_logps, objective=objective.name, normalise=parameters.normalise, seed=seed
    )

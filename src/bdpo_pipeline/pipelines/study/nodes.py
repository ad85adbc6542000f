"""Nodes of the study's trials: one trial is one training of one arm, with one seed, at one point of the grid."""

from pathlib import Path
from typing import Any

from bdpo_pipeline.arms import GridPoint
from bdpo_pipeline.benchmarks.ability_items import AbilityItems
from bdpo_pipeline.benchmarks.ability_sets import AbilityParameters, task_of
from bdpo_pipeline.comprehension_parameters import ComprehensionParameters
from bdpo_pipeline.compute import ComputeParameters
from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.io.tables import StoredTable
from bdpo_pipeline.objective_parameters import ObjectiveParameters
from bdpo_pipeline.pipelines.ability import nodes as ability_nodes
from bdpo_pipeline.pipelines.evaluation import nodes as evaluation_nodes
from bdpo_pipeline.pipelines.evaluation.parameters import GenerationParameters
from bdpo_pipeline.pipelines.reference.nodes import estimate_marginal
from bdpo_pipeline.pipelines.training import nodes as training_nodes
from bdpo_pipeline.pipelines.training.parameters import TrainingParameters
from bdpo_pipeline.reference import comprehension as reference_comprehension
from bdpo_pipeline.reference import logps
from bdpo_pipeline.seeds import derive_seed
from bdpo_pipeline.study import choice, trials
from bdpo_pipeline.tables import DataFrame

from .parameters import ChoiceParameters, ScoredPairsParameters


def choose_validation_prompts(
    validation_pairs: StoredTable, parameters: ChoiceParameters, seed: int
) -> DataFrame:
    """Return the prompts that every trial answers so that arms can be tuned without a look at what they are compared by."""
    columns = ["pair_id", "prompt", "chosen_is_safe", "rejected_is_safe"]
    return choice.validation_prompts(
        validation_pairs.to_pandas(columns), parameters.prompts, seed=derive_seed(seed, "study.validation")
    )


def measure_comprehension(
    base_model: dict[str, Any],
    tokenised_pairs: DataFrame,
    parameters: ComprehensionParameters,
    compute: ComputeParameters,
    seed: int,
) -> DataFrame:
    """Return the mutual information of every pair's responses, held-out pairs too: what the analyses ask for, whatever an arm does."""
    table, _ = logps.score_reference(
        base_model,
        tokenised_pairs,
        conditional=True,
        marginal=estimate_marginal(parameters, seed),
        marginal_splits=("train", "validation", "heldout"),
        compute=compute.for_engine(),
        cache=compute.reference_cache,
        scratch=compute.scratch,
    )
    return reference_comprehension.measure_information(table, parameters.normalise)


def choose_training_pairs(
    tokenised_pairs: DataFrame, information: DataFrame, pairs: str, seed: int
) -> DataFrame:
    """Return the token ids of the pairs that an arm trains on, and of all others as they are."""
    return choice.choose_half(
        tokenised_pairs, information, pairs, seed=derive_seed(seed, "study.training_pairs")
    )


def settle_grid_trial(
    objective: ObjectiveParameters, training: TrainingParameters, point: GridPoint
) -> dict[str, Any]:
    """Return what a trial trains with, at a point of the grid."""
    return trials.settle(objective.name, objective.options, training.model_dump(), **point.model_dump())


def settle_chosen_trial(
    objective: ObjectiveParameters, training: TrainingParameters, chosen_point: dict[str, Any]
) -> dict[str, Any]:
    """Return what a trial trains with, at the point that was chosen for its arm."""
    point = {name: chosen_point[name] for name in GridPoint.model_fields}
    return trials.settle(objective.name, objective.options, training.model_dump(), **point)


def train_trial(
    base_model: dict[str, Any],
    tokenised_pairs: DataFrame,
    reference_logps: DataFrame,
    comprehension: DataFrame,
    settings: dict[str, Any],
    comprehension_parameters: ComprehensionParameters,
    compute: ComputeParameters,
    seed: int,
) -> tuple[Path, DataFrame, dict[str, Any], dict[str, Any]]:
    """Train as the trial's settings say, otherwise as the training pipeline does; one that diverges ends there and stops no other."""
    return training_nodes.train_adapter(
        base_model,
        tokenised_pairs,
        reference_logps,
        comprehension,
        ObjectiveParameters(**settings["objective"]),
        comprehension_parameters,
        TrainingParameters(**settings["training"]),
        compute,
        seed,
        ends_where_it_diverges=True,
    )


def answer_validation_prompts(
    base_model: dict[str, Any],
    adapter: Path,
    validation_prompts: DataFrame,
    parameters: GenerationParameters,
    compute: ComputeParameters,
) -> DataFrame:
    """Let a trial's model answer the validation prompts."""
    return _answer(base_model, adapter, validation_prompts, ("adapter",), parameters, compute)


def answer_prompts(
    base_model: dict[str, Any],
    adapter: Path,
    evaluation_prompts: StoredTable,
    parameters: GenerationParameters,
    compute: ComputeParameters,
    seed: int,
) -> DataFrame:
    """Let an arm's model answer the evaluation prompts."""
    prompts = evaluation_nodes.chosen_prompts(evaluation_prompts, parameters, seed, "study.generation")
    return _answer(base_model, adapter, prompts, ("adapter",), parameters, compute)


def answer_prompts_untrained(
    base_model: dict[str, Any],
    evaluation_prompts: StoredTable,
    parameters: GenerationParameters,
    compute: ComputeParameters,
    seed: int,
) -> DataFrame:
    """Let the base model answer the evaluation prompts."""
    prompts = evaluation_nodes.chosen_prompts(evaluation_prompts, parameters, seed, "study.generation")
    return _answer(base_model, None, prompts, ("base",), parameters, compute)


def measure_ability(
    base_model: dict[str, Any],
    adapter: Path,
    raw_data: RawFolder,
    parameters: AbilityParameters,
    compute: ComputeParameters,
    seed: int,
) -> DataFrame:
    """Let an arm's model work on the chosen items of every task."""
    items = ability_nodes.chosen_items(raw_data, parameters, seed)
    return ability_nodes.measure_items(base_model, adapter, items, ("adapter",), parameters, compute)


def measure_ability_untrained(
    base_model: dict[str, Any],
    raw_data: RawFolder,
    parameters: AbilityParameters,
    compute: ComputeParameters,
    seed: int,
) -> DataFrame:
    """Let the base model work on the chosen items of every task."""
    return ability_nodes.measure_items(
        base_model,
        None,
        ability_nodes.chosen_items(raw_data, parameters, seed),
        ("base",),
        parameters,
        compute,
    )


def measure_validation(
    base_model: dict[str, Any],
    adapter: Path,
    raw_data: RawFolder,
    parameters: AbilityParameters,
    choice_parameters: ChoiceParameters,
    compute: ComputeParameters,
    seed: int,
) -> DataFrame:
    """Score helpful responses that no arm is compared by under the base model and a trial's."""
    whole = parameters.model_copy(update={"items": {task_of(name): None for name in parameters.responses}})
    every = ability_nodes.chosen_items(raw_data, whole, seed).responses
    compared = {item.item_id for item in ability_nodes.chosen_items(raw_data, parameters, seed).responses}
    items = choice.validation_responses(
        every, compared, choice_parameters.responses, seed=derive_seed(seed, "study.validation")
    )
    return ability_nodes.measure_items(
        base_model,
        adapter,
        AbilityItems(choices=[], questions=[], responses=items),
        ("base", "adapter"),
        parameters,
        compute,
    )


def describe_trial(
    trial_settings: dict[str, Any],
    training_history: DataFrame,
    training_summary: dict[str, Any],
    judgements: DataFrame,
    validation_ability: DataFrame,
    parameters: ChoiceParameters,
) -> dict[str, Any]:
    """Return what an arm's point is chosen by."""
    return trials.describe(
        trial_settings,
        training_history,
        training_summary,
        judgements,
        validation_ability,
        judge=parameters.judge,
    )


def choose_point(parameters: ChoiceParameters, **trials_of_arm: dict[str, Any]) -> dict[str, Any]:
    """Return the point that an arm goes on with, of all that it was tried at."""
    return choice.choose_point(trials_of_arm, parameters.max_helpful_loss)


def score_pairs(
    base_model: dict[str, Any],
    adapter: Path,
    tokenised_pairs: DataFrame,
    reference_logps: DataFrame,
    training_summary: dict[str, Any],
    parameters: ScoredPairsParameters,
    compute: ComputeParameters,
    seed: int,
) -> DataFrame:
    """Score training and held-out pairs under an arm's model, in the objective's own reward."""
    pairs = choice.choose_scored_pairs(
        tokenised_pairs, parameters.train, seed=derive_seed(seed, "study.scored_pairs")
    )
    scores = evaluation_nodes.score_adapter(
        base_model, adapter, pairs, reference_logps, training_summary, ("train", "heldout"), compute
    )
    return scores.merge(pairs[["pair_id", "split"]], on="pair_id", validate="one_to_one")


def _answer(
    base_model: dict[str, Any],
    adapter: Path | None,
    prompts: DataFrame,
    models: tuple[str, ...],
    parameters: GenerationParameters,
    compute: ComputeParameters,
) -> DataFrame:
    if parameters.endpoint is not None:
        raise ValueError(
            f"study.generation.endpoint is {parameters.endpoint.url}, and a server has none of the adapters that a study trains: set it "
            "to null, so that workers answer"
        )
    return evaluation_nodes.answer_by_worker(base_model, adapter, prompts, models, parameters, compute)

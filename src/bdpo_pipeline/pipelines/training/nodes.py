"""Node of the training pipeline."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from bdpo_pipeline.comprehension_parameters import ComprehensionParameters
from bdpo_pipeline.compute import ComputeParameters
from bdpo_pipeline.objective_parameters import ObjectiveParameters
from bdpo_pipeline.pipelines.training.parameters import TrainingParameters
from bdpo_pipeline.reference.comprehension import training_constants
from bdpo_pipeline.reference.marginals import single_context
from bdpo_pipeline.seeds import derive_seed
from bdpo_pipeline.tables import DataFrame


def train_adapter(
    base_model: dict[str, Any],
    tokenised_pairs: DataFrame,
    reference_logps: DataFrame,
    comprehension: DataFrame,
    objective: ObjectiveParameters,
    comprehension_parameters: ComprehensionParameters,
    training: TrainingParameters,
    compute: ComputeParameters,
    seed: int,
    *,
    ends_where_it_diverges: bool = False,
) -> tuple[Path, DataFrame, dict[str, Any], dict[str, Any]]:
    """Train the adapter in a worker process; return its folder, the history, the summary, and how it ran."""
    from bdpo_pipeline.alignment import train_adapter as train
    from bdpo_pipeline.engine.jobs import LoraSpec, OptimiserSpec, TrainJob

    followed = objective.bind().needs_comprehension and comprehension_parameters.can_be_followed
    settings = training.model_dump(exclude={"lora", "optimiser"})
    job = TrainJob(
        model=base_model["path"],
        compute=compute.for_engine(),
        objective=objective.name,
        options=objective.options,
        lora=LoraSpec(**training.lora.model_dump()) if training.lora else None,
        optimiser=OptimiserSpec(**training.optimiser.model_dump()),
        seeds={name: derive_seed(seed, f"training.{name}") for name in ("adapter", "order", "dropout")},
        comprehension=_follow(comprehension, comprehension_parameters) if followed else None,
        ends_where_it_diverges=ends_where_it_diverges,
        **settings,
    )
    kind = comprehension_parameters.marginal
    context = single_context(base_model["path"], kind) if followed else None
    return train(job, tokenised_pairs, reference_logps, comprehension, context, compute.scratch)


def _follow(comprehension: DataFrame, parameters: ComprehensionParameters) -> dict[str, Any]:
    """Return how the engine is to follow comprehension, as it reads it."""
    weighting = parameters.weighting_of_pairs()
    return {
        "normalise": parameters.normalise,
        "online": parameters.online,
        "reverse": parameters.control == "reversed",
        "weighting": asdict(weighting),
        "constants": asdict(training_constants(comprehension, weighting)),
    }

"""Node of the training pipeline."""

from pathlib import Path
from typing import Any

from bdpo_pipeline.compute import ComputeParameters
from bdpo_pipeline.pipelines.training.parameters import ObjectiveParameters, TrainingParameters
from bdpo_pipeline.seeds import derive_seed
from bdpo_pipeline.tables import DataFrame


def train_adapter(
    base_model: dict[str, Any],
    tokenised_pairs: DataFrame,
    reference_logps: DataFrame,
    comprehension: DataFrame,
    objective: ObjectiveParameters,
    training: TrainingParameters,
    compute: ComputeParameters,
    seed: int,
) -> tuple[Path, DataFrame, dict[str, Any]]:
    """Train the adapter in a worker process; return its folder, the history and the summary."""
    from bdpo_pipeline.alignment import train_adapter as train
    from bdpo_pipeline.engine.jobs import LoraSpec, OptimiserSpec, TrainJob

    settings = training.model_dump(exclude={"lora", "optimiser"})
    job = TrainJob(
        model=base_model["path"],
        compute=compute.for_engine(),
        objective=objective.name,
        options=objective.options,
        lora=LoraSpec(**training.lora.model_dump()),
        optimiser=OptimiserSpec(**training.optimiser.model_dump()),
        seeds={name: derive_seed(seed, f"training.{name}") for name in ("adapter", "order", "dropout")},
        **settings,
    )
    return train(job, tokenised_pairs, reference_logps, comprehension, compute.scratch)

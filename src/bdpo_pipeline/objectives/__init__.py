"""Pure tensor maths: one small function per objective, comprehension and weighting. Imports torch only."""

from bdpo_pipeline.objectives import losses  # registers every objective
from bdpo_pipeline.objectives.batch import PairBatch, PairLabels
from bdpo_pipeline.objectives.registry import (
    BoundObjective,
    Need,
    Relabelling,
    bind_objective,
    objective,
    objective_names,
    scale_strength,
)

__all__ = [
    "BoundObjective",
    "Need",
    "PairBatch",
    "PairLabels",
    "Relabelling",
    "bind_objective",
    "losses",
    "objective",
    "objective_names",
    "scale_strength",
]

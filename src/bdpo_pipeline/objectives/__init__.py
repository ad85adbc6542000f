"""Pure tensor maths: one small function per objective, comprehension and weighting. Imports torch only."""

from bdpo_pipeline.objectives import bdpo, dpo  # registers them
from bdpo_pipeline.objectives.batch import PairBatch
from bdpo_pipeline.objectives.registry import Need, Objective, bind_loss, get_objective, resolve_options

__all__ = ["Need", "Objective", "PairBatch", "bdpo", "bind_loss", "dpo", "get_objective", "resolve_options"]

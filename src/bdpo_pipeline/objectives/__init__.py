"""Pure tensor maths: one small function per objective, comprehension and weighting. Imports torch only."""

from bdpo_pipeline.objectives import bdpo, dpo  # registers them
from bdpo_pipeline.objectives.batch import PairBatch
from bdpo_pipeline.objectives.registry import bind_loss, resolve_options

__all__ = ["PairBatch", "bdpo", "bind_loss", "dpo", "resolve_options"]

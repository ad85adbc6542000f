"""The `compute` parameter group, shared by every node that starts a worker."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from bdpo_pipeline.engine.jobs import Compute
from bdpo_pipeline.parameters import ParameterGroup


class ComputeParameters(ParameterGroup):
    """Where and how worker processes compute; see ``conf/base/parameters_compute.yml``."""

    device: Literal["auto", "cpu", "cuda"]
    dtype: Literal["float32", "bfloat16"]
    quantisation: Literal["nf4"] | None
    processes: int = Field(ge=1)
    threads: int | None = Field(default=None, ge=1)
    tokens_per_batch: int = Field(gt=0)
    sharding: Literal["fsdp2"] | None
    activation_checkpointing: bool
    scratch: Path
    reference_cache: Path

    def for_engine(self) -> Compute:
        """Return what the engine is told."""
        return Compute(**self.model_dump(exclude={"scratch", "reference_cache"}))

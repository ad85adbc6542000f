"""The `compute` parameter group, shared by every node that starts a worker."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from bdpo_pipeline.compute_choice import resolve
from bdpo_pipeline.engine.jobs import Compute, check_together
from bdpo_pipeline.parameters import ParameterGroup


class ComputeParameters(ParameterGroup):
    """Where and how worker processes compute; see ``conf/base/parameters_compute.yml`` and docs/compute.md."""

    device: Literal["auto", "cpu", "cuda"]
    dtype: Literal["auto", "float32", "bfloat16"]
    quantisation: Literal["nf4"] | None
    processes: int = Field(ge=1)
    threads: int | None = Field(default=None, ge=1)
    memory_gb: Literal["auto"] | Annotated[float, Field(gt=0)]
    tokens_per_batch: Literal["auto"] | Annotated[int, Field(gt=0)]
    sharding: Literal["fsdp2"] | None
    activation_checkpointing: bool
    accelerate_config: str | None = None
    scratch: Path
    reference_cache: Path

    @model_validator(mode="after")
    def _check(self) -> "ComputeParameters":
        check_together(self.processes, self.sharding, self.quantisation)
        return self

    def for_engine(self) -> Compute:
        """Return what the engine is told: device and dtype are decided here, the memory budget by the worker."""
        told = self.model_dump(exclude={"scratch", "reference_cache"})
        told["device"], told["dtype"] = resolve(self.device, self.dtype)
        for name in ("memory_gb", "tokens_per_batch"):
            told[name] = None if told[name] == "auto" else told[name]
        return Compute(**told)

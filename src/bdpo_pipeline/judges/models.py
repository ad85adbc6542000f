"""Models that judge: found and prepared like the base model, and asked in a worker."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from bdpo_pipeline.models.prepare import ModelNotFoundError, ModelSource, prepare_base_model
from bdpo_pipeline.parameters import ParameterGroup

from .base import JudgeError


class JudgeModel(ParameterGroup):
    """Which model judges; the fields mean what those of ``base_model`` mean (conf/base/parameters_base_model.yml)."""

    source: Literal["folder", "hub", "gguf", "package", "tiny_random"]
    name: str = Field(min_length=1)
    revision: str | None = Field(None, description="a commit hash, for a model of the hub")
    gguf_file: str | None = None

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if self.source == "hub" and self.revision is None:
            raise ValueError("source hub needs `revision`, a commit hash")
        if self.source == "package" and self.gguf_file is None:
            raise ValueError("source package needs `gguf_file`, the file inside the package")
        return self


def find_model(wanted: JudgeModel, scratch: Path) -> str:
    """Return the folder of a model that judges, converted once if need be.

    Raises:
        JudgeError: it cannot be had.
    """
    try:
        return str(prepare_base_model(ModelSource(**wanted.model_dump()), scratch / "judge_models")["path"])
    except ModelNotFoundError as error:
        raise JudgeError(
            f"the model {wanted.name!r} of a judge cannot be had (its fields under judging.judges are read like base_model's): {error}"
        ) from error

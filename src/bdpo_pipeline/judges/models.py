"""Models that judge: found and prepared like the base model, and asked in a worker."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from bdpo_pipeline.models.damage import DamagedModelError
from bdpo_pipeline.models.encoding import TemplateError
from bdpo_pipeline.models.prepare import ModelNotFoundError, ModelSource, prepare_base_model
from bdpo_pipeline.parameters import ParameterGroup

from .base import JudgeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class JudgeModel(ParameterGroup):
    """Which model judges; the fields mean what those of ``base_model`` mean (conf/base/parameters_base_model.yml)."""

    source: Literal["folder", "hub", "gguf", "package", "tiny_random"]
    name: str = Field(min_length=1)
    revision: str | None = Field(None, description="a commit hash, for a model of the hub")
    gguf_file: str | None = None
    chat_template: str | None = Field(
        None, description="a Jinja file, in place of the tokenizer's own template"
    )

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if self.source == "hub" and self.revision is None:
            raise ValueError("source hub needs `revision`, a commit hash")
        if self.source == "package" and self.gguf_file is None:
            raise ValueError("source package needs `gguf_file`, the file inside the package")
        return self


@dataclass(frozen=True)
class OpenedModel:
    """A model that judges: its folder, and its tokenizer."""

    folder: str
    tokenizer: "PreTrainedTokenizerBase"


def open_model(wanted: JudgeModel, scratch: Path, try_it: Callable[[OpenedModel], object]) -> OpenedModel:
    """Find a model that judges, converting it once if need be, and try whether it can be asked.

    Its weights are not loaded yet. What is found here would otherwise be found when all responses are there to be judged.

    Args:
        wanted: the model.
        scratch: folder below which converted models lie.
        try_it: encodes a text like those that will be judged, and looks whether the model is of the kind that is needed.

    Raises:
        JudgeError: it cannot be had, is of another kind, or its tokenizer cannot encode the text.
    """
    from bdpo_pipeline.models.loading import load_tokenizer

    try:
        prepared = prepare_base_model(ModelSource(**wanted.model_dump()), scratch / "judge_models")
        opened = OpenedModel(prepared["path"], load_tokenizer(prepared["path"]))
        try_it(opened)
    except (ModelNotFoundError, DamagedModelError, TemplateError, FileNotFoundError) as error:
        raise JudgeError(
            f"the model {wanted.name!r} cannot be used: {error} (where this says base_model, it means this judge's `model`, which has "
            "the same fields)"
        ) from error
    return opened


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return a text with values in the place of marks, in one step: a value may hold another's mark."""
    return re.sub("|".join(map(re.escape, values)), lambda mark: values[mark.group(0)], text)

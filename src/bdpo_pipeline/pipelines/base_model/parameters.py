"""Parameters of the base model."""

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from bdpo_pipeline.parameters import ParameterGroup


class BaseModelParameters(ParameterGroup):
    """Which model is aligned; see ``conf/base/parameters_base_model.yml`` for what each field means."""

    source: Literal["package", "hub", "folder", "gguf", "tiny_random"]
    name: str
    revision: str | None = None
    gguf_file: str | None = None
    chat_template: str | None = None
    licence: str | None = None
    store: Path

    @model_validator(mode="after")
    def _source_has_what_it_needs(self) -> "BaseModelParameters":
        if self.source == "hub" and self.revision is None:
            raise ValueError(
                "source hub needs `revision`, a commit hash: the id alone may mean other weights tomorrow"
            )
        if self.source == "package" and self.gguf_file is None:
            raise ValueError("source package needs `gguf_file`, the file inside the package")
        return self

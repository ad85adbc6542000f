"""Where preference pairs come from, as configured."""

from typing import Literal, Self

from pydantic import Field, model_validator

from bdpo_pipeline.parameters import ParameterGroup

FormatName = Literal["auto", "pku_saferlhf", "prompt_chosen_rejected", "conversational", "transcript"]


class PreferenceSource(ParameterGroup):
    """One file or hub data set of preference rows."""

    name: str = Field(min_length=1, description="stands in the column `source`")
    path: str | None = Field(None, description="file, relative to raw_root or absolute")
    hub: str | None = Field(None, description="hub data set id, or a folder that `datasets` can load")
    revision: str | None = Field(None, description="commit of the hub data set; required with `hub`")
    subset: str | None = Field(None, description="configuration of the hub data set")
    hub_split: str = Field("train", description="split of the hub data set")
    format: FormatName = "auto"
    split: Literal["train", "heldout"] | None = Field(
        None, description="what the source is for; null: by hash"
    )
    licence: str = Field(min_length=1)
    chosen_is_safe: bool | None = Field(
        None, description="label of all chosen responses, where rows carry none"
    )
    rejected_is_safe: bool | None = Field(
        None, description="label of all rejected responses, where rows carry none"
    )
    max_rows: int | None = Field(None, gt=0, description="read no more than the first rows")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError(f"source {self.name!r}: give either `path` or `hub`")
        if self.hub is not None and self.revision is None:
            raise ValueError(
                f"source {self.name!r}: give the `revision` of {self.hub}, or the data may change"
            )
        return self

"""Evaluation prompt sets, as configured."""

from typing import Literal

from pydantic import Field

from bdpo_pipeline.parameters import ParameterGroup

Desired = Literal["refuse", "comply"]


class DesiredByColumn(ParameterGroup):
    """What is desired, told by a column of the set."""

    column: str
    values: dict[str, Desired] = Field(min_length=1, description="what each value of the column asks for")


class EvaluationPromptSet(ParameterGroup):
    """One file of prompts that the model is asked after training, and that training must not have seen."""

    name: str = Field(min_length=1)
    path: str = Field(
        description="JSON lines, CSV (also gzipped) or Parquet, relative to raw_root or absolute"
    )
    licence: str = Field(min_length=1)
    prompt_column: str
    category_column: str | None = None
    goal_column: str | None = Field(None, description="the plain request behind a jailbreak")
    desired: Desired | DesiredByColumn
    where: dict[str, str] = Field({}, description="use only rows with these values in these columns")

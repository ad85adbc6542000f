"""Evaluation prompt sets, as configured."""

from typing import Literal

from pydantic import Field

from bdpo_pipeline.parameters import ParameterGroup

Desired = Literal["refuse", "comply"]
Contamination = Literal["shared_words", "same_prompt"]


class DesiredByColumn(ParameterGroup):
    """What is desired, told by a column of the set."""

    column: str
    values: dict[str, Desired] = Field(min_length=1, description="what each value of the column asks for")


class DesiredByLabels(ParameterGroup):
    """A prompt is to be refused where a response to it is labelled unsafe.

    Other rows are left out: that the responses are safe does not say whether the prompt is to be complied with.
    """

    refuse_if_false: list[str] = Field(
        min_length=1, description="columns that say of each response whether it is safe"
    )


class Templates(ParameterGroup):
    """Texts that the prompts of a set are put into: as many as there are templates, with the set's prompts in turn."""

    path: str = Field(description="a file as that of a prompt set")
    column: str
    placeholder: str = Field(
        min_length=1, description="where the prompt stands; behind the template, if it has no such place"
    )


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
    target_column: str | None = Field(
        None, description="the beginning of a complying answer, which white-box attacks aim at"
    )
    desired: Desired | DesiredByColumn | DesiredByLabels
    where: dict[str, str] = Field({}, description="use only rows with these values in these columns")
    distinct: bool = Field(False, description="take each prompt once, where it stands first")
    contamination: Contamination = Field(
        "shared_words",
        description="which training prompts are dropped for the set: those that share a run of words with a prompt, or "
        "only those that equal one; for prompts of the training data's own kind, which share stock phrases",
    )
    templates: Templates | None = None

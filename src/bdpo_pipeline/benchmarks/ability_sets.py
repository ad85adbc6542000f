"""Sets of items that measure general ability, as configured."""

from string import Formatter
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from bdpo_pipeline.parameters import ParameterGroup

Match = Literal["number", "text"]


class AbilitySet(ParameterGroup):
    """A file of items, and what they ask."""

    path: str = Field(
        description="JSON lines, CSV (also gzipped) or Parquet, relative to raw_root or absolute"
    )
    licence: str = Field(min_length=1)
    where: dict[str, str] = Field({}, description="use only rows with these values in these columns")
    prompt: str | None = Field(None, description="what is asked, with {column} where a column's text goes")
    messages_column: str | None = Field(None, description="in place of prompt: role/content messages")

    @field_validator("prompt")
    @classmethod
    def _is_template(cls, prompt: str | None) -> str | None:
        if prompt is not None and not template_columns(prompt):
            raise ValueError(f"found {prompt!r}; accepted: a text with at least one {{column}} in it")
        return prompt

    @model_validator(mode="after")
    def _asks_in_one_way(self) -> Self:
        if (self.prompt is None) == (self.messages_column is None):
            raise ValueError("give either `prompt` or `messages_column`")
        return self


class ChoiceSet(AbilitySet):
    """Options of which one is right; a model chooses the one that it gives the highest log-prob."""

    options: list[str] | None = Field(None, min_length=2, description="the same options for all items")
    option_columns: list[str] | None = Field(None, min_length=2, description="or columns with the options")
    answer: int | None = Field(None, ge=0, description="number of the right option, from 0, of all items")
    answer_column: str | None = Field(None, description="or the column with that number")
    normalised: bool = Field(
        description="whether to compare log-probs per character, too, for options that differ in length"
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        for one, other in (("options", "option_columns"), ("answer", "answer_column")):
            if (getattr(self, one) is None) == (getattr(self, other) is None):
                raise ValueError(f"give either `{one}` or `{other}`")
        if self.answer is not None and self.answer >= self.count:
            raise ValueError(f"answer is {self.answer} of {self.count} options; they count from 0")
        return self

    @property
    def count(self) -> int:
        """Number of options of each item."""
        return len(self.options or self.option_columns or [])


class QuestionSet(AbilitySet):
    """Questions that are answered greedily, and answers that the responses must match."""

    answer_column: str
    match: Match = Field(
        description="number: the response's number behind ####; text: the response as a whole"
    )
    max_new_tokens: int = Field(gt=0)

    @model_validator(mode="after")
    def _asks_one_turn(self) -> Self:
        if self.messages_column is not None:
            raise ValueError("questions are one turn: give `prompt` in place of `messages_column`")
        return self


class ResponseSet(AbilitySet):
    """Responses that are scored as they stand: how likely they are, and how far a trained model has moved on them."""

    response_column: str


class AbilityParameters(ParameterGroup):
    """How general ability is measured; see ``conf/base/parameters_ability.yml``."""

    items: dict[str, Annotated[int, Field(ge=0)] | None] = Field(
        description="items of each task, over all its sets; null for all"
    )
    choices: dict[str, ChoiceSet]
    questions: dict[str, QuestionSet]
    responses: dict[str, ResponseSet]
    batch_size: int = Field(gt=0, description="most questions answered at a time")
    resamples: int = Field(ge=100, description="bootstrap resamples of prompts for each interval")

    @property
    def sets(self) -> dict[str, AbilitySet]:
        """All sets by name."""
        return {**self.choices, **self.questions, **self.responses}

    @model_validator(mode="after")
    def _names_are_clear(self) -> Self:
        kinds: dict[str, str] = {}
        for kind in ("choices", "questions", "responses"):
            for name in getattr(self, kind):
                if kinds.setdefault(task_of(name), kind) != kind:
                    raise ValueError(
                        f"sets of the task {task_of(name)!r} are {kinds[task_of(name)]} and {kind}: give one of them another name"
                    )
        for task in self.items:
            if task not in kinds:
                raise ValueError(f"items names the task {task!r}; there are sets of: {', '.join(kinds)}")
        return self


def task_of(name: str) -> str:
    """Return what a set or an item counts for: its name up to the first slash, so ``hhh`` of ``hhh/honest`` and ``hhh/honest/0007``."""
    return name.partition("/")[0]


def template_columns(template: str) -> list[str]:
    """Return the columns that a template names.

    Raises:
        ValueError: it is no template.
    """
    return [name for _, name, _, _ in Formatter().parse(template) if name]

"""Reading the items that measure general ability."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdpo_pipeline.benchmarks.ability_sets import (
    AbilityParameters,
    AbilitySet,
    ChoiceSet,
    Match,
    QuestionSet,
    ResponseSet,
    task_of,
    template_columns,
)
from bdpo_pipeline.benchmarks.choice import choose_places
from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.preferences.defects import RowError, describe
from bdpo_pipeline.preferences.readers import read_file
from bdpo_pipeline.preferences.values import Message, check_turns, read_choice, read_messages, read_text

_MAX_ROW_BYTES = 1_000_000


class AbilitySetError(ValueError):
    """A set of items cannot be read as configured; half a benchmark is not used."""


@dataclass(frozen=True)
class Item:
    """What is asked.

    Attributes:
        item_id: ``<set>/<4 digits>``, counted from 1 within a set.
        messages: the conversation before the answer.
    """

    item_id: str
    messages: list[Message]

    @property
    def task(self) -> str:
        """What the item counts for: its set's name up to the first slash, so ``hhh`` of ``hhh/honest/0007``."""
        return task_of(self.item_id)


@dataclass(frozen=True)
class ChoiceItem(Item):
    """Options, the number of the right one, and whether they differ in length."""

    options: list[str]
    answer: int
    normalised: bool


@dataclass(frozen=True)
class QuestionItem(Item):
    """The right answer, and how a response is compared with it."""

    answer: str
    match: Match
    max_new_tokens: int


@dataclass(frozen=True)
class ResponseItem(Item):
    """A response that is scored as it stands."""

    response: str


@dataclass(frozen=True)
class AbilityItems:
    """All items that a model is measured on, by how."""

    choices: list[ChoiceItem]
    questions: list[QuestionItem]
    responses: list[ResponseItem]


def read_items(parameters: AbilityParameters, raw: RawFolder, *, seed: int) -> AbilityItems:
    """Return the chosen items of every set that has a part in a named task; the other files are not read.

    Args:
        parameters: the sets, and how many items of each task.
        raw: where relative paths start.
        seed: of the choice; see :func:`~bdpo_pipeline.benchmarks.choice.choose_places`.

    Raises:
        AbilitySetError: a row is malformed, or no row is left by ``where``.
        ValueError: a file is not there.
    """
    numbers = parameters.items
    found = [
        item
        for name, one in parameters.sets.items()
        if numbers.get(task_of(name), 0) != 0
        for item in _read_set(name, one, raw.find(one.path, f"ability set {name!r}"))
    ]
    places = choose_places(
        [item.item_id for item in found], [item.task for item in found], numbers, seed=seed
    )
    chosen = [found[place] for place in places]
    return AbilityItems(
        [item for item in chosen if isinstance(item, ChoiceItem)],
        [item for item in chosen if isinstance(item, QuestionItem)],
        [item for item in chosen if isinstance(item, ResponseItem)],
    )


def _read_set(name: str, one: AbilitySet, path: Path) -> Iterator[Item]:
    number = 0
    for row in read_file(path, _MAX_ROW_BYTES):
        try:
            if row.defect is not None:
                raise row.defect
            if any(read_text(row.fields, column) != value for column, value in one.where.items()):
                continue
            number += 1
            yield _read_item(f"{name}/{number:04}", one, row.fields)
        except RowError as defect:
            raise AbilitySetError(
                f"ability set {name!r}: {one.path} row {row.number}, field {defect.field}: {defect}"
            ) from defect
    if not number:
        raise AbilitySetError(f"ability set {name!r}: no row of {one.path} has {one.where or 'an item'}")


def _read_item(item_id: str, one: AbilitySet, fields: Mapping[str, Any]) -> Item:
    messages = _read_prompt(one, fields)
    if isinstance(one, ChoiceSet):
        options = one.options or [read_text(fields, column) for column in one.option_columns or []]
        return ChoiceItem(item_id, messages, options, _read_answer(one, fields), one.normalised)
    if isinstance(one, QuestionSet):
        answer = read_text(fields, one.answer_column)
        return QuestionItem(item_id, messages, answer, one.match, one.max_new_tokens)
    assert isinstance(one, ResponseSet)  # noqa: S101 - narrows the type for the type checker
    return ResponseItem(item_id, messages, read_text(fields, one.response_column))


def _read_prompt(one: AbilitySet, fields: Mapping[str, Any]) -> list[Message]:
    if one.messages_column is not None:
        return check_turns(
            read_messages(fields.get(one.messages_column), one.messages_column), one.messages_column
        )
    template = one.prompt or ""
    texts = {column: read_text(fields, column) for column in template_columns(template)}
    return [{"role": "user", "content": template.format(**texts)}]


def _read_answer(one: ChoiceSet, fields: Mapping[str, Any]) -> int:
    if one.answer is not None:
        return one.answer
    column = one.answer_column or ""
    answer = read_choice(fields, column, one.count)
    if answer is None:
        raise RowError(
            "missing_field", column, f"found {describe(fields.get(column))}; accepted: a number from 0"
        )
    return answer

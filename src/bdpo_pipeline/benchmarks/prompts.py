"""Reading evaluation prompt sets into one table."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bdpo_pipeline.benchmarks.sources import (
    DesiredByColumn,
    DesiredByLabels,
    EvaluationPromptSet,
    Templates,
)
from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.io.schemas import get_schema
from bdpo_pipeline.io.tables import StoredTable, TableWriter
from bdpo_pipeline.preferences.defects import RowError, describe, show_names
from bdpo_pipeline.preferences.readers import read_file
from bdpo_pipeline.preferences.values import read_flag, read_text

T = TypeVar("T")
Prompt = dict[str, Any]
# All prompts are held in memory, with their words, while training pairs are compared with them.
MAX_CHARACTERS = 20_000_000


class PromptSetError(ValueError):
    """An evaluation prompt set cannot be read as configured; half a benchmark is not used."""


def read_prompt_sets(
    prompt_sets: Sequence[EvaluationPromptSet], raw: RawFolder, max_row_bytes: int
) -> StoredTable:
    """Return all prompts of all sets, in order, with ids ``<set>/<4 digits>`` that count from 1 within a set.

    Raises:
        PromptSetError: a row is malformed, no row is left by ``where`` and labels, or there is far more text than a benchmark has.
        ValueError: a file is not there.
    """
    files = {
        path: raw.find(path, f"prompt set {one.name!r}")
        for one in prompt_sets
        for path in [one.path, *([one.templates.path] if one.templates else [])]
    }
    with TableWriter(get_schema("evaluation_prompts")) as prompts:
        for one in prompt_sets:
            for number, prompt in enumerate(_read_set(one, files, max_row_bytes), start=1):
                prompts.append({"prompt_id": f"{one.name}/{number:04}", "prompt_set": one.name, **prompt})
        return prompts.finish()


def _read_set(one: EvaluationPromptSet, files: Mapping[str, Path], max_row_bytes: int) -> list[Prompt]:
    def read(path: str, choose: Callable[[Mapping[str, Any]], T | None]) -> Iterator[T]:
        return _read_rows(one.name, path, files[path], max_row_bytes, choose)

    found: Iterable[Prompt] = read(one.path, lambda fields: _read_prompt(one, fields))
    if one.distinct:
        found = _take_once(found)
    prompts = _bounded(one, found)
    if not prompts:
        chosen = one.where or (
            "an unsafe response" if isinstance(one.desired, DesiredByLabels) else "a prompt"
        )
        raise PromptSetError(f"prompt set {one.name!r}: no row of {one.path} has {chosen}")
    if one.templates is None:
        return prompts
    column = one.templates.column
    texts = list(read(one.templates.path, lambda fields: read_text(fields, column)))
    if not texts:
        raise PromptSetError(f"prompt set {one.name!r}: {one.templates.path} has no row")
    return _bounded(one, _fill(one.templates, texts, prompts))


def _read_rows(
    name: str,
    shown: str,
    path: Path,
    max_row_bytes: int,
    choose: Callable[[Mapping[str, Any]], T | None],
) -> Iterator[T]:
    """Yield what ``choose`` makes of the fields of each row, but None."""
    for row in read_file(path, max_row_bytes):
        try:
            if row.defect is not None:
                raise row.defect
            chosen = choose(row.fields)
        except RowError as defect:
            raise PromptSetError(
                f"prompt set {name!r}: {shown} row {row.number}, field {defect.field}: {defect}"
            ) from defect
        if chosen is not None:
            yield chosen


def _read_prompt(one: EvaluationPromptSet, fields: Mapping[str, Any]) -> Prompt | None:
    if any(read_text(fields, column) != value for column, value in one.where.items()):
        return None
    desired = _read_desired(one.desired, fields)
    if desired is None:
        return None
    return {
        "prompt": read_text(fields, one.prompt_column),
        "category": one.category_column and read_text(fields, one.category_column),
        "goal": one.goal_column and read_text(fields, one.goal_column),
        "target": one.target_column and read_text(fields, one.target_column),
        "desired": desired,
        "contamination": one.contamination,
    }


def _read_desired(desired: str | DesiredByColumn | DesiredByLabels, fields: Mapping[str, Any]) -> str | None:
    """Return what is desired; None for a row of which the labels do not say it."""
    if isinstance(desired, str):
        return desired
    if isinstance(desired, DesiredByLabels):
        unsafe = [_is_unsafe(fields, column) for column in desired.refuse_if_false]
        return "refuse" if any(unsafe) else None
    value = read_text(fields, desired.column)
    if value not in desired.values:
        accepted = ", ".join(desired.values)
        raise RowError("unknown_label", desired.column, f"found {describe(value)}; accepted: {accepted}")
    return desired.values[value]


def _is_unsafe(fields: Mapping[str, Any], column: str) -> bool:
    if column not in fields:
        raise RowError("missing_field", column, f"no {column!r}; found: {show_names(fields)}")
    return read_flag(fields, column) is False


def _take_once(prompts: Iterable[Prompt]) -> Iterator[Prompt]:
    seen: set[str] = set()
    for prompt in prompts:
        if prompt["prompt"] not in seen:
            seen.add(prompt["prompt"])
            yield prompt


def _fill(templates: Templates, texts: Sequence[str], prompts: Sequence[Prompt]) -> Iterator[Prompt]:
    """Put the prompts into the templates, in turn, until each of both was used."""
    for number in range(max(len(texts), len(prompts))):
        text, prompt = texts[number % len(texts)], prompts[number % len(prompts)]
        plain = prompt["prompt"]
        place = templates.placeholder
        filled = text.replace(place, plain) if place in text else f"{text}\n\n{plain}"
        yield {**prompt, "prompt": filled, "goal": prompt["goal"] or plain}


def _bounded(one: EvaluationPromptSet, prompts: Iterable[Prompt]) -> list[Prompt]:
    kept: list[Prompt] = []
    characters = 0
    for prompt in prompts:
        kept.append(prompt)
        characters += len(prompt["prompt"])
        if characters > MAX_CHARACTERS:
            raise PromptSetError(
                f"prompt set {one.name!r}: {one.path} has more than {MAX_CHARACTERS:,} characters of prompts by row {len(kept)}; "
                "name a part of it with `where`, or give a smaller file"
            )
    return kept

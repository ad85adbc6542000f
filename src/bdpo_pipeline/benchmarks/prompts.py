"""Reading evaluation prompt sets into one table."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bdpo_pipeline.benchmarks.sources import DesiredByColumn, EvaluationPromptSet
from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.io.schemas import get_schema
from bdpo_pipeline.io.tables import StoredTable, TableWriter
from bdpo_pipeline.preferences.defects import RowError, describe
from bdpo_pipeline.preferences.readers import read_file
from bdpo_pipeline.preferences.values import read_text

# All prompts are held in memory, with their words, while training pairs are compared with them.
MAX_CHARACTERS = 20_000_000


class PromptSetError(ValueError):
    """An evaluation prompt set cannot be read as configured; half a benchmark is not used."""


def read_prompt_sets(
    prompt_sets: Sequence[EvaluationPromptSet], raw: RawFolder, max_row_bytes: int
) -> StoredTable:
    """Return all prompts of all sets, in order, with ids ``<set>/<4 digits>`` that count from 1 within a set.

    Raises:
        PromptSetError: a row is malformed, no row is left by ``where``, or there is far more text than a benchmark has.
        ValueError: a file is not there.
    """
    paths = [raw.find(one.path, f"prompt set {one.name!r}") for one in prompt_sets]
    with TableWriter(get_schema("evaluation_prompts")) as prompts:
        for one, path in zip(prompt_sets, paths, strict=True):
            count = characters = 0
            for fields in _select(one, path, max_row_bytes):
                count += 1
                characters += len(fields["prompt"])
                if characters > MAX_CHARACTERS:
                    raise PromptSetError(
                        f"prompt set {one.name!r}: {one.path} has more than {MAX_CHARACTERS:,} characters of prompts by row {count}; "
                        "name a part of it with `where`, or give a smaller file"
                    )
                prompts.append({"prompt_id": f"{one.name}/{count:04}", "prompt_set": one.name, **fields})
            if not count:
                raise PromptSetError(
                    f"prompt set {one.name!r}: no row of {one.path} has {one.where or 'a prompt'}"
                )
        return prompts.finish()


def _select(one: EvaluationPromptSet, path: Path, max_row_bytes: int) -> Iterator[dict[str, Any]]:
    for row in read_file(path, max_row_bytes):
        try:
            if row.defect is not None:
                raise row.defect
            if all(read_text(row.fields, column) == value for column, value in one.where.items()):
                yield {
                    "prompt": read_text(row.fields, one.prompt_column),
                    "category": one.category_column and read_text(row.fields, one.category_column),
                    "goal": one.goal_column and read_text(row.fields, one.goal_column),
                    "desired": _read_desired(one.desired, row.fields),
                }
        except RowError as defect:
            raise PromptSetError(
                f"prompt set {one.name!r}: {one.path} row {row.number}, field {defect.field}: {defect}"
            ) from defect


def _read_desired(desired: str | DesiredByColumn, fields: Mapping[str, Any]) -> str:
    if isinstance(desired, str):
        return desired
    value = read_text(fields, desired.column)
    if value not in desired.values:
        accepted = ", ".join(desired.values)
        raise RowError("unknown_label", desired.column, f"found {describe(value)}; accepted: {accepted}")
    return desired.values[value]

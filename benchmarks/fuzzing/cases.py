"""Mutated files of every kind, one after another, the same for the same seed."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from fuzzing.judge import Outcome, judge_preferences, judge_prompts
from fuzzing.kinds import SUFFIXES, real_preferences, real_prompts, write
from fuzzing.mutations import ANY_BYTES, TEXT, of_gzip
from fuzzing.rows import Row, mutate

FORMATS = ("auto", "pku_saferlhf", "prompt_chosen_rejected", "conversational", "transcript")


@dataclass(frozen=True)
class Case:
    """A mutated file.

    Attributes:
        kind: of file, for the page.
        mutation: what was done to it.
        name: of the file.
        content: of the file.
        judge: reads it and checks what became of it.
    """

    kind: str
    mutation: str
    name: str
    content: bytes
    judge: Callable[[Path], Outcome]


def preference_cases(seed: int, suffixes: tuple[str, ...] = SUFFIXES) -> Iterator[Case]:
    """Yield preference sources without end: formats and kinds of file in turn, mutations by chance."""
    real = real_preferences()
    for number, (suffix, one) in enumerate(itertools.cycle(itertools.product(suffixes, real))):
        rng = Random(f"{seed}/preferences/{number}")
        other = write(rng.choice(real).rows, suffix, rng)
        mutation, content = _mutate(rng, one.rows, suffix, other)
        configured = one.format if rng.random() < 0.6 else rng.choice(FORMATS)
        preference = rng.choice(("safer", "helpful", "paper"))
        yield Case(
            f"preferences .{suffix}",
            mutation,
            f"rows-{number}.{suffix}",
            content,
            lambda path, name=configured, rule=preference: judge_preferences(path, name, rule),
        )


def prompt_cases(seed: int, suffixes: tuple[str, ...] = SUFFIXES) -> Iterator[Case]:
    """Yield evaluation prompt sets without end."""
    real = real_prompts()
    for number, (suffix, (_, configured, rows)) in enumerate(
        itertools.cycle(itertools.product(suffixes, real))
    ):
        rng = Random(f"{seed}/prompts/{number}")
        other = write(rng.choice(real)[2], suffix, rng)
        mutation, content = _mutate(rng, rows, suffix, other)
        yield Case(
            f"prompts .{suffix}",
            mutation,
            f"prompts-{number}.{suffix}",
            content,
            lambda path, how=configured: judge_prompts(path, how),
        )


def _mutate(rng: Random, rows: list[Row], suffix: str, other: bytes) -> tuple[str, bytes]:
    if rng.random() < 0.35:
        mutation, changed = mutate(rng, rows)
        return mutation, write(changed, suffix, rng)
    content = write(rows, suffix, rng)
    if suffix == "parquet":
        mutation = rng.choice(sorted(ANY_BYTES))
        if rng.random() < 0.4:
            return f"{mutation}, footer", _mutate_footer(rng, content, other, mutation)
        return mutation, ANY_BYTES[mutation](rng, content, other)
    mutation = rng.choice(sorted(TEXT))
    if suffix.endswith(".gz") and rng.random() < 0.6:
        return f"{mutation}, inside gzip", of_gzip(rng, content, other, mutation)
    return mutation, TEXT[mutation](rng, content, other)


def _mutate_footer(rng: Random, content: bytes, other: bytes, mutation: str) -> bytes:
    """Mutate the metadata at the end of a Parquet file, whose length stands before the last four bytes, and keep that right."""
    length = int.from_bytes(content[-8:-4], "little")
    start = len(content) - 8 - length
    changed = ANY_BYTES[mutation](rng, content[start:-8], other)
    return content[:start] + changed + len(changed).to_bytes(4, "little") + content[-4:]


def run(case: Case, folder: Path) -> Outcome:
    """Write the file, judge it, and remove it.

    Raises:
        Violation: see there.
    """
    path = folder / case.name
    path.write_bytes(case.content)
    try:
        return case.judge(path)
    finally:
        path.unlink()


def take(cases: Iterator[Any], number: int) -> list[Any]:
    """Return the first cases."""
    return list(itertools.islice(cases, number))

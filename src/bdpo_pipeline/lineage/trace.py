"""The way from raw files to an artifact, step by step."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from bdpo_pipeline.lineage.library import Entry, Library
from bdpo_pipeline.lineage.record import Made, Record


@dataclass(frozen=True)
class Step:
    """One thing on the way.

    Attributes:
        key: tells it from every other.
        kind: an artifact; what only lived in memory; a file from outside the catalog; or an artifact whose record is lost.
        name: in the catalog, or of the file.
        version: of Kedro.
        sha256: of the content; of what only lived in memory, of its recipe.
        path: where it lay when it was used.
        made: how it was made; None where that is not known or it is a file.
        record: of the artifact.
        parents: keys of what it was made from.
    """

    key: str
    kind: Literal["artifact", "in memory", "file", "unknown"]
    name: str
    version: str | None
    sha256: str
    path: str | None
    made: Made | None
    record: Record | None
    parents: tuple[str, ...]


def trace(entries: Iterable[Entry], library: Library) -> list[Step]:
    """Return everything that artifacts were made from, parents before children, each once.

    Args:
        entries: the artifacts.
        library: where the records of their ingredients are looked up.
    """
    steps: dict[str, Step] = {}
    for entry in entries:
        _add_artifact(entry.record, library, steps)
    return list(steps.values())


def _add_artifact(record: Record, library: Library, steps: dict[str, Step]) -> str:
    key = f"{record.name}@{record.version}:{record.sha256[:16]}"
    if key not in steps:
        parents = tuple(_add_parents(record.made, library, steps))
        steps[key] = Step(
            key,
            "artifact",
            record.name,
            record.version,
            record.sha256,
            record.path,
            record.made,
            record,
            parents,
        )
    return key


def _add_parents(made: Made, library: Library, steps: dict[str, Step]) -> Iterator[str]:
    for name, sha256 in made.recipe.files.items():
        key = f"{name}:{sha256[:16]}"
        steps.setdefault(
            key, Step(key, "file", name, None, sha256, made.files.get(name), None, None, parents=())
        )
        yield key
    for name, inner in made.in_memory.items():
        key = f"{name}:{inner.recipe.sha256[:16]}"
        if key not in steps:
            parents = tuple(_add_parents(inner, library, steps))
            steps[key] = Step(key, "in memory", name, None, inner.recipe.sha256, None, inner, None, parents)
        yield key
    for name, ingredient in made.inputs.items():
        entry = library.origin(name, ingredient)
        if entry is not None:
            yield _add_artifact(entry.record, library, steps)
        else:
            key = f"{name}@{ingredient.version}:{ingredient.sha256[:16]}"
            unknown = Step(
                key, "unknown", name, ingredient.version, ingredient.sha256, ingredient.path, None, None, ()
            )
            steps.setdefault(key, unknown)
            yield key

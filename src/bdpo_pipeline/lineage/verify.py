"""Is everything still what it was when it was made? Artifacts, their records, and the files that they were made from."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bdpo_pipeline.lineage.artifacts import files_of, record_path
from bdpo_pipeline.lineage.library import Entry, Library
from bdpo_pipeline.lineage.recipe import FileHashes

Kind = Literal["altered", "missing", "without record"]


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was made: what, where, and in words."""

    kind: Kind
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.what}"


def verify_artifacts(library: Library, hashes: FileHashes) -> Iterator[Finding]:
    """Hash every artifact again and compare it with its record; one that was removed as a whole is no finding."""
    for entry in library.entries:
        if entry.path is not None and entry.path.exists():
            yield from _verify(entry, entry.path, hashes)
        elif entry.path is not None:
            yield Finding(
                "missing", str(entry.path), f"its record of {entry.record.time} is there, it is not"
            )


def verify_origins(library: Library, hashes: FileHashes) -> Iterator[Finding]:
    """Compare what artifacts were made from with what is there now: the records of other artifacts, and files."""
    seals = {entry.record.seal for entry in library.entries}
    paths = {str(entry.path) for entry in library.entries}
    reported: set[str] = set()
    for entry in library.entries:
        for name, ingredient in entry.record.made.every_ingredient():
            lies_there = ingredient.path in paths or str(Path(ingredient.path).absolute()) in paths
            if ingredient.record and ingredient.record not in seals and lies_there:
                finding = Finding(
                    "altered",
                    ingredient.path,
                    f"the record of {name} is another one than when {entry.record.name} was made of it",
                )
                if ingredient.path not in reported:
                    reported.add(ingredient.path)
                    yield finding
    for name, path, sha256, version in _newest_files(library):
        found = hashes.of_file(path)
        if found == "missing":
            yield Finding("missing", str(path), f"{name}, which version {version} was made from")
        elif found != sha256:
            yield Finding("altered", str(path), f"{name} is not what version {version} was made from")


def verify_records_exist(places: list[Path]) -> Iterator[Finding]:
    """Report versions of artifacts that have no record."""
    for place in places:
        if not record_path(place).is_file():
            yield Finding(
                "without record",
                str(place),
                "what it was made from is not known; made before records were kept, or the record is lost",
            )


def _verify(entry: Entry, path: Path, hashes: FileHashes) -> Iterator[Finding]:
    there = {
        file.relative_to(path).as_posix() if path.is_dir() else path.name: file for file in files_of(path)
    }
    recorded = entry.record.files
    for name in sorted(recorded.keys() | there.keys()):
        where = str(path / name if path.is_dir() else path)
        if name not in there:
            yield Finding("missing", where, f"it belongs to {entry.record.name} {entry.record.version}")
        elif name not in recorded:
            yield Finding(
                "altered",
                where,
                f"it was not there when {entry.record.name} {entry.record.version} was saved",
            )
        elif (found := hashes.of_file(there[name])) != recorded[name]:
            yield Finding("altered", where, f"SHA-256 is {found[:12]}…, recorded is {recorded[name][:12]}…")


def _newest_files(library: Library) -> Iterator[tuple[str, Path, str, str]]:
    """Yield name, place, hash and version of each outside file, as the newest artifact used it that was made from it."""
    newest: dict[str, tuple[str, Path, str, str]] = {}
    for entry in library.entries:
        for made in entry.record.made.with_all_in_memory():
            for name, place in made.files.items():
                newest[place] = (
                    name,
                    Path(place),
                    made.recipe.files[name],
                    f"{entry.record.name} {entry.record.version}",
                )
    yield from newest.values()

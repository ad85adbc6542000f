"""The record that lies beside every artifact: what it is, what it was made from, by what, where and when."""

import dataclasses
import hashlib
import json
import typing
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bdpo_pipeline.lineage.artifacts import record_path
from bdpo_pipeline.lineage.recipe import Recipe

FORMAT = 1
_END = "\n}"
_SEALED = ',\n "seal": "{}"\n}}'
_DIGITS = 64


class AlteredRecordError(ValueError):
    """A lineage record is not what was written."""


@dataclass(frozen=True)
class Ingredient:
    """An artifact that a node loaded; ``record`` is the seal of its own record, None if it had none."""

    path: str
    version: str | None
    sha256: str
    record: str | None


@dataclass(frozen=True)
class Made:
    """How a node made its outputs.

    Attributes:
        node: its name.
        recipe: what the outputs depend on.
        inputs: artifacts that it loaded, by catalog name.
        files: where the files lay that it read outside the catalog, by name.
        in_memory: how those inputs were made that only lived in memory.
        jobs: what each worker job of the node ran on and in which precision, as the engine reports it.
    """

    node: str
    recipe: Recipe
    inputs: dict[str, Ingredient]
    files: dict[str, str]
    in_memory: dict[str, "Made"]
    jobs: list[dict[str, Any]]

    def with_all_in_memory(self) -> Iterator["Made"]:
        """Yield this, and how everything was made that it took from memory."""
        yield self
        for made in self.in_memory.values():
            yield from made.with_all_in_memory()

    def every_ingredient(self) -> Iterator[tuple[str, Ingredient]]:
        """Yield the artifacts that this was made from by name, those behind what lived in memory included."""
        for made in self.with_all_in_memory():
            yield from made.inputs.items()


@dataclass(frozen=True)
class Record:
    """One version of an artifact.

    Attributes:
        name: in the catalog.
        path: as the catalog gives it.
        version: of Kedro, None for what has none.
        sha256: of the content.
        bytes: of all files.
        files: SHA-256 of each file, by its path within the artifact; of a single file its own name.
        made: how.
        session: id, environment, pipelines, runtime parameters, command, versions of Kedro and of this project.
        code: commit, branch and whether files differed from it; empty outside a git checkout.
        machine: Python, operating system, hardware.
        packages: every installed distribution with its version.
        tracking: where the session's run is tracked, found by its tag `kedro.session`; empty if it is not.
        time: when it was saved, UTC.
    """

    name: str
    path: str
    version: str | None
    sha256: str
    bytes: int
    files: dict[str, str]
    made: Made
    session: dict[str, Any]
    code: dict[str, str]
    machine: dict[str, str]
    packages: dict[str, str]
    tracking: dict[str, str]
    time: str

    @cached_property
    def seal(self) -> str:
        """SHA-256 of the record itself."""
        return _hash(_body(self))


def to_json(record: Record) -> str:
    """Return the record as text, sealed."""
    return _body(record).removesuffix(_END) + _SEALED.format(record.seal)


def from_json(text: str, where: object) -> Record:
    """Return the record that a text holds.

    Args:
        text: what `to_json` returned.
        where: the text comes from, for messages.

    Raises:
        AlteredRecordError: the text is not what was written, or another version of this project wrote it.
    """
    # The seal is of the text, as a byte may change without a change of what JSON makes of it.
    seal = text[-len(_SEALED.format("0" * _DIGITS)) :].partition('"seal": "')[2][:_DIGITS]
    body = text.removesuffix(_SEALED.format(seal)) + _END
    if not text.endswith(_SEALED.format(seal)) or _hash(body) != seal:
        raise AlteredRecordError(f"{where} was altered or torn: its content does not match its seal")
    data = json.loads(body)
    if data.pop("format") != FORMAT:
        raise AlteredRecordError(
            f"{where} has another format than {FORMAT}; read it with the commit that it names"
        )
    record: Record = _build(Record, data)
    record.__dict__["seal"] = seal  # known already, and dear to compute for thousands of records
    return record


def read_record(artifact: Path | str) -> Record | None:
    """Return the record of an artifact; None if there is none.

    Raises:
        AlteredRecordError: there is one that is not what was written.
    """
    path = record_path(artifact)
    if not path.is_file():
        return None
    try:
        text = (
            path.read_bytes().decode()
        )  # as it is: reading as text would take one end of a line for another
    except UnicodeDecodeError as error:
        raise AlteredRecordError(f"{path} is no text ({error}); it was altered or torn") from error
    return from_json(text, path)


def _body(record: Record) -> str:
    fields = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    return json.dumps({"format": FORMAT, **fields}, indent=1, ensure_ascii=False, default=asdict)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _build(kind: type, data: dict[str, Any]) -> Any:
    hints = typing.get_type_hints(kind)
    return kind(**{name: _nested(hints[name], value) for name, value in data.items()})


def _nested(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value)
    arguments = typing.get_args(hint)
    if len(arguments) == 2 and dataclasses.is_dataclass(arguments[1]):
        return {name: _build(typing.cast(type, arguments[1]), inner) for name, inner in value.items()}
    return value

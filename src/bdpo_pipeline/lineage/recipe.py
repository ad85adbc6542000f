"""What an artifact depends on and nothing else: with equal recipes, a deterministic node gives equal bytes."""

import hashlib
import json
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, CatalogProtocol
from kedro.io.core import is_parameter
from kedro.pipeline.node import Node
from pydantic import BaseModel

from bdpo_pipeline.lineage.artifacts import hash_artifact, loaded_path
from bdpo_pipeline.lineage.code import Code, code_of
from bdpo_pipeline.lineage.parameter_names import redact
from bdpo_pipeline.models.fingerprints import hash_file

# Of a data set's configuration: where it lies and how it is shown are not what it holds.
_NOT_CONTENT = {"filepath", "version", "metadata", "fs_args", "credentials", "self"}


@dataclass(frozen=True)
class Recipe:
    """What a node's outputs depend on.

    Attributes:
        function: of the node, as module:name.
        parameters: by catalog name, JSON-ready; paths are left out, as they say where and not what, and secrets are masked.
        files: SHA-256 of files outside the catalog that the node reads, by name.
        inputs: by catalog name, SHA-256 of the content; of what only lives in memory, that of the recipe it was made by.
        definitions: SHA-256 of every top-level definition of the project that the node uses, by module:name.
        packages: version of every distribution that they use.
        python: version.
        datasets: type and options of the data sets that the node loads and saves, by catalog name.
    """

    function: str
    parameters: dict[str, Any]
    files: dict[str, str]
    inputs: dict[str, str]
    definitions: dict[str, str]
    packages: dict[str, str]
    python: str
    datasets: dict[str, Any]

    @property
    def sha256(self) -> str:
        """One hash of all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def differences(then: Recipe, now: Recipe) -> list[str]:
    """Return in words what differs, causes before what follows from them: parameters, files, code, packages, then inputs."""
    found = [*_changes("", then.parameters, now.parameters)]
    found += [f"file {name} {how}" for name, how in _hashes(then.files, now.files)]
    if then.function != now.function:
        found.append(f"the node's function was {then.function} and is {now.function}")
    found += [f"{name} {how}" for name, how in _hashes(then.definitions, now.definitions)]
    found += _changes("package ", then.packages, now.packages)
    found += _changes("", {"Python": then.python}, {"Python": now.python})
    found += _changes("data set ", then.datasets, now.datasets)
    found += [f"{name} {how}" for name, how in _hashes(then.inputs, now.inputs)]
    return found


class FileHashes:
    """SHA-256 of files and folders, computed once as long as they are untouched."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int, int], str] = {}

    def of_file(self, path: Path) -> str:
        """Return the SHA-256 of a file, or "missing"."""
        if not path.is_file():
            return "missing"
        found = path.stat()
        key = (str(path), found.st_ino, found.st_size, found.st_mtime_ns)
        if key not in self._known:
            self._known[key] = hash_file(path)
        return self._known[key]

    def of_artifact(self, path: Path) -> str:
        """Return the SHA-256 of a file, or the one over all files of a folder."""
        return hash_artifact(path, self.of_file)


class RecipeBook:
    """Writes the recipes of a session's nodes, in the order in which they run.

    Args:
        catalog: of the session.
    """

    def __init__(self, catalog: CatalogProtocol[str, Any]) -> None:
        self._catalog = catalog
        self._in_memory: dict[str, str] = {}
        self.hashes = FileHashes()
        self._code: dict[Any, Code] = {}

    def read_code(self, nodes: Iterable[Node]) -> None:
        """Read the code of nodes that are to run: it may be edited while they do, and what was imported is what runs."""
        for node in nodes:
            self._code_of(node)

    def recipe(self, node: Node, files: Mapping[str, Path]) -> Recipe:
        """Return the recipe by which a node makes its outputs now.

        Args:
            node: its inputs exist, or were made before by a node of this session.
            files: that it reads outside the catalog, by name; one that is gone counts as such.
        """
        parameters = [name for name in node.inputs if is_parameter(name)]
        inputs = [name for name in node.inputs if not is_parameter(name)]
        datasets = self._datasets(node)
        code = self._code_of(node)
        return Recipe(
            function=f"{node.func.__module__}:{node.func.__qualname__}",
            parameters={name: plain(name, self._catalog.load(name)) for name in sorted(parameters)},
            files={name: self.hashes.of_file(path) for name, path in sorted(files.items())},
            inputs={name: found for name in sorted(inputs) if (found := self.identity(name)) is not None},
            definitions=code.definitions,
            packages=code.packages,
            python=platform.python_version(),
            datasets={
                name: _configuration(dataset, "load_args" if name in node.outputs else "save_args")
                for name, dataset in sorted(datasets.items())
            },
        )

    def made(self, node: Node, recipe: Recipe) -> None:
        """Note that a node's outputs are those of the recipe; for those that only live in memory."""
        for name in node.outputs:
            self._in_memory[name] = f"recipe {recipe.sha256}"

    def identity(self, name: str) -> str | None:
        """Return what a data set holds, as the session would load it; None for what has no content of its own."""
        path = loaded_path(self._catalog.get(name))
        if path is not None and path.exists():
            return self.hashes.of_artifact(path)
        return self._in_memory.get(name)

    def _datasets(self, node: Node) -> dict[str, Any]:
        names = [name for name in [*node.inputs, *node.outputs] if not is_parameter(name)]
        return {name: self._catalog.get(name) for name in names}

    def _code_of(self, node: Node) -> Code:
        classes = {type(dataset) for dataset in self._datasets(node).values() if dataset is not None}
        key = (node.func, frozenset(classes))
        if key not in self._code:
            self._code[key] = code_of([node.func, *sorted(classes, key=lambda kind: kind.__qualname__)])
        return self._code[key]


def plain(name: str, value: Any) -> Any:
    """Return a parameter as JSON-ready data, without paths and with secrets masked."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    return redact(name.rpartition(".")[2].removeprefix("params:"), _without_paths(value))


def _without_paths(value: Any) -> Any:
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, Mapping):
        return {
            str(key): _without_paths(inner) for key, inner in value.items() if not isinstance(inner, Path)
        }
    if isinstance(value, list | tuple):
        return [_without_paths(inner) for inner in value]
    return value if isinstance(value, str | int | float | bool | None) else _words(value)


def _words(value: Any) -> str:
    """Return a value as text that is the same in every process: without the address that Python's own words for an object have."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(value))


def _configuration(dataset: Any, unused: str) -> dict[str, Any]:
    kind = type(dataset)
    given: dict[str, Any] = (
        dict(getattr(dataset, "_init_args", None) or {}) if isinstance(dataset, AbstractDataset) else {}
    )
    # Of a class without an `__init__` of its own, Kedro notes the arguments as they were handed on.
    given = {**given, **given.get("kwargs", {})}
    options = {
        name: _without_paths(value)
        for name, value in given.items()
        if name not in {"args", "kwargs", unused, *_NOT_CONTENT} and value is not None
    }
    return {"type": f"{kind.__module__}.{kind.__qualname__}", **options}


def _hashes(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in sorted(then.keys() | now.keys()):
        if name not in then:
            yield name, "is new"
        elif name not in now:
            yield name, "is no longer used"
        elif then[name] != now[name]:
            yield name, "changed"


def _changes(prefix: str, then: Any, now: Any, name: str = "") -> list[str]:
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        parts = [
            _changes(
                prefix, then.get(key, _ABSENT), now.get(key, _ABSENT), f"{name}.{key}" if name else str(key)
            )
            for key in sorted(then.keys() | now.keys())
        ]
        return [change for part in parts for change in part]
    if then == now:
        return []
    return [f"{prefix}{name} was {_shown(then)} and is {_shown(now)}"]


class _Absent:
    def __repr__(self) -> str:
        return "absent"


_ABSENT = _Absent()


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, _Absent) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"

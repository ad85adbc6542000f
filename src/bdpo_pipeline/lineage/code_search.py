"""From one definition to what it uses: the names in it, followed through imports to what they stand for."""

import builtins
import re
from dataclasses import dataclass, field
from pathlib import Path

from bdpo_pipeline.lineage.definitions import LOOSE, Binding, SourceModule
from bdpo_pipeline.lineage.names import DYNAMIC, Dotted, uses_of
from bdpo_pipeline.lineage.sources import Sources

# Module and name.
Reference = tuple[str, str]
# By these a module finds itself, so other modules and files that lie beside it, too.
_SELF = {"__file__", "__path__", "__package__", "__spec__", "__name__"}
_NOT_DATA = {".py", ".pyc", ".pyi"}


@dataclass
class Needs:
    """What a definition uses.

    Attributes:
        definitions: of the project.
        files: beside the code, that are no Python.
        modules: from outside, by top-level name.
        outside: what names of its module stand for that come from outside, in words.
        handled: definitions of the project that it may change.
    """

    definitions: set[Reference] = field(default_factory=set)
    files: set[Path] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    outside: set[str] = field(default_factory=set)
    handled: set[Reference] = field(default_factory=set)


class Search:
    """Follows names from one module to the definitions that they stand for."""

    def __init__(self, sources: Sources, module: SourceModule) -> None:
        self._sources = sources
        self._module = module
        self._found = Needs()
        self._todo: list[tuple[Dotted, bool]] = []
        self._packages: set[str] = set()
        self._is_dynamic = False

    def needs(self, name: str) -> Needs:
        """Return what a definition of the module uses."""
        if name == LOOSE:
            self._run_imports()
        else:
            self._found.definitions.add((self._module.name, LOOSE))
            self._todo += [(path, False) for path in self._module.bindings[name].imports]
        uses = uses_of(self._module.statements(name), self._module.package)
        self._is_dynamic = uses.dynamic
        self._uses(uses.names & uses.handled, uses.paths & uses.handled)
        self._found.handled |= self._found.definitions
        self._uses(uses.names - uses.handled, uses.paths - uses.handled)
        self._todo += [(path, False) for path in uses.imported]
        self._follow_all()
        for text in uses.strings:
            self._string(text)
        self._follow_all()
        if self._is_dynamic:
            for package in sorted(self._packages) or [self._module.name.partition(".")[0]]:
                for module in self._sources.below(package):
                    self._whole(module)
            self._follow_all()
        return self._found

    def _uses(self, names: set[Dotted], paths: set[Dotted]) -> None:
        for path in names:
            self._name(self._module, path)
        self._todo += [(path, True) for path in paths]
        self._follow_all()

    def whole(self) -> Needs:
        """Return all that the module defines and imports."""
        self._whole(self._module)
        self._follow_all()
        return self._found

    def reach(self, path: Dotted) -> Needs:
        """Return what a dotted name of the module stands for."""
        self._name(self._module, path)
        self._follow_all()
        return self._found

    def _run_imports(self) -> None:
        parent = self._module.name.rpartition(".")[0]
        for path in [tuple(parent.split(".")), *self._module.imported]:
            for end in range(1, len(path) + 1):
                name = ".".join(path[:end])
                if self._sources.module(name) is not None:
                    self._found.definitions.add((name, LOOSE))

    def _follow_all(self) -> None:
        seen = set()
        while self._todo:
            step = self._todo.pop()
            if step not in seen:
                seen.add(step)
                self._follow(*step)

    def _follow(self, path: Dotted, is_used: bool) -> None:
        """Follow a path from its top-level package; a module itself counts whole where it is handed on as a value."""
        module = self._sources.module(path[0])
        if module is None:
            self._found.modules.add(path[0])
            self._is_dynamic |= is_used and path[-1] in DYNAMIC
            return
        rest = path[1:]
        while True:
            self._found.definitions.add((module.name, LOOSE))
            if not rest:
                if is_used:
                    self._whole(module)
                return
            inner = self._sources.module(f"{module.name}.{rest[0]}")
            if rest[0] in module.bindings or rest[0] in _SELF:
                self._name(module, rest)
            elif inner is None:
                self._whole(module)
            if inner is None:
                return
            module, rest = inner, rest[1:]

    def _name(self, module: SourceModule, path: Dotted) -> None:
        name = path[0]
        if name in _SELF:
            self._lies_beside(module)
            return
        if name not in module.bindings and not hasattr(builtins, name):
            name = "*"
        binding = module.bindings.get(name)
        if binding is None:
            return
        if binding.statements:
            self._found.definitions.add((module.name, name))
        self._note_outside(name, binding)
        self._todo += [((*target, *path[1:]), True) for target in binding.imports]

    def _whole(self, module: SourceModule) -> None:
        self._found.definitions.add((module.name, LOOSE))
        for name, binding in module.bindings.items():
            if binding.statements:
                self._found.definitions.add((module.name, name))
            self._note_outside(name, binding)
            self._todo += [(path, False) for path in binding.imports]
        if module.is_package:
            self._lies_beside(module)

    def _note_outside(self, name: str, binding: Binding) -> None:
        foreign = [target for target in binding.imports if self._sources.module(target[0]) is None]
        self._found.outside.update(f"{name} is {'.'.join(target)}" for target in foreign)

    def _lies_beside(self, module: SourceModule) -> None:
        self._packages.add(module.package)
        self._found.files.update(
            path
            for path in module.folder.rglob("*")
            if path.is_file() and path.suffix not in _NOT_DATA and "__pycache__" not in path.parts
        )

    def _string(self, text: str) -> None:
        """Count the modules that a string names, by their dotted name or, beside the module, by their file."""
        tops = "|".join(map(re.escape, self._sources.tops))
        for match in re.finditer(rf"\b(?:{tops})(?:\.\w+)+|^(?:{tops})$", text):
            parts = match[0].split(".")
            while parts and self._sources.module(".".join(parts)) is None:
                parts.pop()
            if parts:
                self._todo.append((tuple(parts), True))
        if text.endswith(".py"):
            beside = (self._module.folder / text).resolve()
            for module in self._sources.modules():
                if module.path == beside:
                    self._whole(module)

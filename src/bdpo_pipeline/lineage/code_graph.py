"""Which top-level definitions of a project use which; see :mod:`bdpo_pipeline.lineage.code`."""

import ast
import hashlib
from collections.abc import Iterable, Iterator

from bdpo_pipeline.lineage.code_search import Needs, Reference, Search
from bdpo_pipeline.lineage.definitions import LOOSE, SourceModule
from bdpo_pipeline.lineage.names import Dotted, calls_on_import, chain
from bdpo_pipeline.lineage.sources import Sources

# What module-level calls make that nothing can enter itself into.
_FIXED = {"Path", "TypeVar", "compile", "frozenset", "getLogger", "namedtuple", "tuple"}
# Kedro alone reads it, for hooks; what they do is no part of what a node does.
_SETTINGS = "settings"


class CodeGraph:
    """The definitions of a project and what they use.

    Args:
        sources: the project's modules.
    """

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._needs: dict[Reference, Needs] = {}
        self._hashes: dict[Reference, str | None] = {}
        self._registered: dict[Reference, set[Reference]] = {}
        self._find_registered()

    def root(self, module: str, qualified_name: str) -> set[Reference]:
        """Return the definition that holds a function or class; for a lambda, all of its module."""
        source, name = self._module(module), qualified_name.partition(".")[0]
        if name in source.bindings and source.bindings[name].statements:
            return {(module, name)}
        return Search(self.sources, source).whole().definitions

    def sha256(self, reference: Reference) -> str | None:
        """Return the hash of what a definition says, and of what it names outside; None where a module has no loose statements."""
        if reference not in self._hashes:
            text = self._module(reference[0]).text(reference[1])
            said = "\n".join([text, *sorted(self._needs_of(reference).outside)])
            self._hashes[reference] = hashlib.sha256(said.encode()).hexdigest() if text else None
        return self._hashes[reference]

    def closure(self, roots: Iterable[Reference]) -> Needs:
        """Return all that definitions use, directly or through others, themselves included."""
        found = Needs()
        todo = list(roots)
        while todo:
            reference = todo.pop()
            if reference in found.definitions:
                continue
            found.definitions.add(reference)
            needs = self._needs_of(reference)
            found.files |= needs.files
            found.modules |= needs.modules
            todo += needs.definitions | self._registered.get(reference, set())
        return found

    def _needs_of(self, reference: Reference) -> Needs:
        if reference not in self._needs:
            self._needs[reference] = Search(self.sources, self._module(reference[0])).needs(reference[1])
        return self._needs[reference]

    def _find_registered(self) -> None:
        """Note what enters itself somewhere while its module is imported: it is used by all who use the place that it enters.

        The place is what it calls a method of, or any variable that the code that it calls may change, such as a decorator's dictionary.
        """
        calls = [
            (reference, path, one)
            for module in self.sources.modules()
            if module.name.partition(".")[2] != _SETTINGS
            for reference, statement in _statements(module)
            for path in calls_on_import(statement)
            for one in self._own(Search(self.sources, module).reach(path))
        ]
        count = -1
        while count != (count := sum(map(len, self._registered.values()))):
            for reference, path, called in calls:
                for place in self._places(called, path):
                    self._registered.setdefault(place, set()).add(reference)

    def _places(self, called: Reference, path: Dotted) -> set[Reference]:
        direct = {called} if called[1] != path[-1] else set()
        if direct and isinstance(self._statements_of(called)[0], ast.FunctionDef):
            return direct  # a method of what a decorator made of the function, whose body does not run
        handled = {
            place for one in self.closure([called]).definitions for place in self._needs_of(one).handled
        }
        return direct | {one for one in handled if any(map(_makes_mutable, self._statements_of(one)))}

    def _own(self, needs: Needs) -> set[Reference]:
        return {one for one in needs.definitions if one[1] != LOOSE}

    def _statements_of(self, reference: Reference) -> list[ast.stmt]:
        return self._module(reference[0]).statements(reference[1])

    def _module(self, name: str) -> SourceModule:
        module = self.sources.module(name)
        assert module is not None  # noqa: S101 - references name modules of the sources
        return module


def _statements(module: SourceModule) -> Iterator[tuple[Reference, ast.stmt]]:
    for name in (LOOSE, *module.bindings):
        for statement in module.statements(name):
            yield (module.name, name), statement


def _makes_mutable(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
    if isinstance(value, ast.Call):
        return _FIXED.isdisjoint(chain(value.func)[-1:])
    return isinstance(value, ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp)

"""A module's source as its top-level definitions, imports and loose statements, without importing it."""

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bdpo_pipeline.lineage.names import Dotted, scope_of, targets

# The name of what runs when a module is imported and defines nothing.
LOOSE = "<module>"


@dataclass
class Binding:
    """What a name at the top of a module stands for: statements that define it, imports that bring it, or both."""

    statements: list[ast.stmt] = field(default_factory=list)
    imports: list[Dotted] = field(default_factory=list)


@dataclass
class SourceModule:
    """A parsed module.

    Attributes:
        name: dotted.
        path: of its file; of a package without one, its folder.
        bindings: by name.
        loose: statements that neither define nor import; they run for everyone who imports the module.
        imported: what is imported when the module is.
    """

    name: str
    path: Path
    bindings: dict[str, Binding] = field(default_factory=dict)
    loose: list[ast.stmt] = field(default_factory=list)
    imported: list[Dotted] = field(default_factory=list)

    @property
    def is_package(self) -> bool:
        """Whether other modules may lie in it."""
        return self.path.name == "__init__.py" or self.path.is_dir()

    @property
    def folder(self) -> Path:
        """Where it looks for files and modules beside it."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def package(self) -> str:
        """Where its relative imports start."""
        return self.name if self.is_package else self.name.rpartition(".")[0]

    def statements(self, name: str) -> list[ast.stmt]:
        """Return the statements of a definition."""
        return self.loose if name == LOOSE else self.bindings[name].statements

    def text(self, name: str) -> str:
        """Return what a definition says, in a form in which comments, docstrings, format and place do not count."""
        return "\n".join(map(ast.dump, self.statements(name)))


def parse_module(name: str, path: Path) -> SourceModule:
    """Return the module in a file, or the package that a folder of modules is.

    Raises:
        SyntaxError: the file is no Python.
    """
    module = SourceModule(name, path)
    if path.is_dir():
        return module
    tree = ast.parse(path.read_bytes(), filename=str(path))
    _drop_docstrings(tree)
    _sort(tree.body, module, runs=True)
    return module


def _sort(statements: Iterable[ast.stmt], module: SourceModule, *, runs: bool) -> None:
    for statement in statements:
        match statement:
            case ast.Import() | ast.ImportFrom():
                _add_import(statement, module, runs)
            case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                _sort(statement.body, module, runs=False)
                _sort(statement.orelse, module, runs=True)
            case _ if _defines(statement):
                _bind(statement, module)
            case _:
                module.loose.append(statement)
                for inner in _bind(statement, module):
                    _add_import(inner, module, runs)


def _add_import(statement: ast.Import | ast.ImportFrom, module: SourceModule, runs: bool) -> None:
    for name, path, imported in targets(statement, module.package):
        module.bindings.setdefault(name, Binding()).imports.append(path)
        if runs:
            module.imported.append(imported)


def _bind(statement: ast.stmt, module: SourceModule) -> list[ast.Import | ast.ImportFrom]:
    names, imports = scope_of([statement])
    for name in names:
        module.bindings.setdefault(name, Binding()).statements.append(statement)
    return imports


def _defines(statement: ast.stmt) -> bool:
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return True
        case ast.Assign(targets=places):
            return all(_is_name(place) for place in places)
        case ast.AnnAssign(target=place) | ast.AugAssign(target=place):
            return _is_name(place)
    return type(statement).__name__ == "TypeAlias"


def _is_name(place: ast.expr) -> bool:
    if isinstance(place, ast.Tuple | ast.List):
        return all(_is_name(part) for part in place.elts)
    return isinstance(place, ast.Name)


def _drop_docstrings(holder: ast.AST) -> None:
    """Remove strings that stand alone, docstrings of modules, classes, functions and attributes, and `pass`, which stands in for one."""
    for part in ("body", "orelse", "finalbody", "handlers", "cases"):
        inner = getattr(holder, part, None)
        if isinstance(inner, list):
            inner[:] = [statement for statement in inner if not _says_nothing(statement)]
            for statement in inner:
                _drop_docstrings(statement)


def _says_nothing(statement: ast.AST) -> bool:
    match statement:
        case ast.Expr(value=ast.Constant(value=str())) | ast.Pass():
            return True
    return False

"""Which names a piece of source code uses, told by Python's own rules of scope."""

import ast
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

Dotted = tuple[str, ...]
_Scope = dict[str, list[Dotted]]
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_NEW_SCOPE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
# What turns text into code, or looks for code by a name that is only known at run time.
_DYNAMIC_NAMES = {"__import__", "eval", "exec", "globals"}
DYNAMIC = {"import_module", "iter_modules", "walk_packages", "run_module", "__subclasses__"}


@dataclass
class Uses:
    """What a piece of code uses.

    Attributes:
        names: dotted chains that begin with a name of the module (or a builtin), such as ``("np", "array")``.
        paths: dotted chains that begin with a top-level package, by way of an import inside a function.
        imported: what the imports inside functions name; the modules on the way run.
        strings: constants, and the constant parts of f-strings.
        handled: of names and paths, those that it does more with than compare and look things up, so that it may change what they name.
        dynamic: whether it finds code by a computed name.
    """

    names: set[Dotted] = field(default_factory=set)
    paths: set[Dotted] = field(default_factory=set)
    imported: set[Dotted] = field(default_factory=set)
    strings: set[str] = field(default_factory=set)
    handled: set[Dotted] = field(default_factory=set)
    dynamic: bool = False


def uses_of(statements: Iterable[ast.stmt], package: str) -> Uses:
    """Return what statements at the top of a module use, in functions within them, too.

    Args:
        statements: of one module.
        package: that relative imports of the module start from.
    """
    visitor = _Visitor(package)
    for statement in statements:
        visitor.visit(statement)
    return visitor.uses


def calls_on_import(statement: ast.stmt) -> set[Dotted]:
    """Return the dotted names of what a statement calls, derives from or writes into while its module is imported."""
    found = set()
    for node in _on_import(statement):
        if isinstance(node, ast.Call):
            found.add(chain(node.func))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found |= {chain(part) for part in node.decorator_list}
            if isinstance(node, ast.ClassDef):
                found |= {
                    chain(part) for part in [*node.bases, *(keyword.value for keyword in node.keywords)]
                }
        elif isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load):
            found.add((*chain(node.value), "[]"))
    return {path for path in found if path}


def chain(node: ast.AST) -> Dotted:
    """Return ``a.b.c`` as ``("a", "b", "c")``, of a call or an item what it starts with; empty for anything else."""
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        start = chain(node.value)
        return (*start, node.attr) if start else ()
    return chain(node.func) if isinstance(node, ast.Call) else ()


def targets(statement: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, Dotted, Dotted]]:
    """Yield for every name that an import binds: the name, what it stands for, and what is imported."""
    for alias in statement.names:
        if isinstance(statement, ast.Import):
            whole = tuple(alias.name.split("."))
            yield (alias.asname, whole, whole) if alias.asname else (whole[0], whole[:1], whole)
        else:
            path = (*_module_path(statement, package), alias.name)
            yield alias.asname or alias.name, path, path


def scope_of(statements: Iterable[ast.AST]) -> tuple[set[str], list[ast.Import | ast.ImportFrom]]:
    """Return the names that statements bind in their own scope, and the imports in it, whose names are not among these."""
    found: set[str] = set()
    elsewhere: set[str] = set()
    imports: list[ast.Import | ast.ImportFrom] = []
    for node in _own_scope(statements):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                found.add(name)
            case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                found.add(name)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                elsewhere.update(names)
            case ast.Import() | ast.ImportFrom():
                imports.append(node)
    return found - elsewhere, imports


class _Visitor(ast.NodeVisitor):
    def __init__(self, package: str) -> None:
        self.uses = Uses()
        self._package = package
        self._scopes: list[_Scope] = []

    def visit_FunctionDef(self, node: _Function) -> None:
        self._visit_all([*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)])
        self._visit_all(getattr(node, "type_params", []))
        arguments = _arguments(node.args)
        for annotation in [*(argument.annotation for argument in arguments), node.returns]:
            self._visit_annotation(annotation)
        self._in_scope(arguments, node.body)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_all([*node.args.defaults, *filter(None, node.args.kw_defaults)])
        self._in_scope(_arguments(node.args), [node.body])

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._visit_annotation(node.annotation)
        self._visit_all([node.target, *([node.value] if node.value else [])])

    def visit_ListComp(self, node: _Comprehension) -> None:
        bound, _ = scope_of(generator.target for generator in node.generators)
        self._scopes.append({name: [] for name in bound})
        self.generic_visit(node)
        self._scopes.pop()
        # The first iterable is evaluated outside.
        self.visit(node.generators[0].iter)

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp  # noqa: N815

    def visit_Name(self, node: ast.Name) -> None:
        # What a statement at the top binds is itself.
        if self._scopes or isinstance(node.ctx, ast.Load):
            self._use((node.id,))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        path = chain(node) if _is_plain(node) else ()
        if path:
            self._use(path)
        else:
            self.uses.dynamic |= node.attr in DYNAMIC
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        called = chain(node.func)[-1:]
        first = node.args[0] if node.args else None
        if called == ("import_module",) and isinstance(first, ast.Constant) and not _is_relative(first):
            self.uses.paths.add(tuple(str(first.value).split(".")))
        elif called == ("getLogger",) and isinstance(first, ast.Name) and first.id == "__name__":
            self.visit(node.func)
        else:
            self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        if chain(node.left) != ("__name__",):
            for part in (node.left, *node.comparators):
                self._read(part)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.ctx, ast.Load):
            self._read(node.value)
            self.visit(node.slice)
        else:
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.uses.strings.add(node.value)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.uses.imported.update(imported for _, _, imported in targets(node, self._package))

    visit_ImportFrom = visit_Import  # noqa: N815

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _visit_annotation(self, node: ast.expr | None) -> None:
        if node is None:
            return
        self.visit(node)
        literals = [
            part for part in ast.walk(node) if chain(getattr(part, "value", part))[-1:] == ("Literal",)
        ]
        words = {id(inner) for literal in literals for inner in ast.walk(literal)}
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str) and id(part) not in words:
                with suppress(SyntaxError):  # a remark within Annotated
                    self.visit(ast.parse(part.value.strip(), mode="eval").body)

    def _in_scope(self, arguments: list[ast.arg], body: list[ast.stmt] | list[ast.expr]) -> None:
        bound, imports = scope_of(body)
        scope: _Scope = {name: [] for name in bound | {argument.arg for argument in arguments}}
        for statement in imports:
            for name, path, _ in targets(statement, self._package):
                scope.setdefault(name, []).append(path)
        self._scopes.append(scope)
        self._visit_all(body)
        self._scopes.pop()

    def _read(self, node: ast.expr) -> None:
        if isinstance(node, ast.Name):
            self._use((node.id,), is_handled=False)
        else:
            self.visit(node)

    def _use(self, path: Dotted, is_handled: bool = True) -> None:
        self.uses.dynamic |= not DYNAMIC.isdisjoint(path)
        scope = next((scope for scope in reversed(self._scopes) if path[0] in scope), None)
        if scope is None:
            self.uses.dynamic |= path[0] in _DYNAMIC_NAMES
            self.uses.names.add(path)
            stands_for = {path}
        else:
            stands_for = {(*start, *path[1:]) for start in scope[path[0]]}
            self.uses.paths |= stands_for
        if is_handled:
            self.uses.handled |= stands_for


def _module_path(statement: ast.ImportFrom, package: str) -> Dotted:
    parts = package.split(".")
    start = parts[: len(parts) - statement.level + 1] if statement.level else []
    return (*start, *(statement.module.split(".") if statement.module else ()))


def _arguments(given: ast.arguments) -> list[ast.arg]:
    stars = [argument for argument in (given.vararg, given.kwarg) if argument is not None]
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *stars]


def _is_plain(node: ast.AST) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def _is_relative(constant: ast.Constant) -> bool:
    return not isinstance(constant.value, str) or constant.value.startswith(".")


def _own_scope(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield nodes and what is in them, but not what is within functions, classes and the targets of comprehensions."""
    todo = list(nodes)
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.comprehension):
            todo += [node.iter, *node.ifs]
        elif not isinstance(node, _NEW_SCOPE):
            todo += ast.iter_child_nodes(node)


def _on_import(statement: ast.stmt) -> Iterator[ast.AST]:
    """Yield what is evaluated when the module is imported: all but bodies of functions and what a script does."""
    todo: list[ast.AST] = [statement]
    while todo:
        node = todo.pop()
        yield node
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                todo += [node.args, *node.decorator_list]
            case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
                todo += node.orelse
            case ast.Lambda():
                todo.append(node.args)
            case _:
                todo += ast.iter_child_nodes(node)

"""What counts as a change of a definition: any change of what it says, and nothing else; tried on this project's own modules."""

import ast
import copy
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import bdpo_pipeline
from bdpo_pipeline.lineage.definitions import LOOSE, parse_module

PACKAGE = Path(bdpo_pipeline.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.stat().st_size > 500)
_HOLDERS = ast.Module | ast.ClassDef | ast.FunctionDef


def texts(tmp_path, source):
    path = tmp_path / "m.py"
    path.write_text(source)
    module = parse_module("m", path)
    found = {name: module.text(name) for name, binding in module.bindings.items() if binding.statements}
    return found | {LOOSE: module.text(LOOSE)}


@pytest.fixture(scope="module")
def tmp_path(tmp_path_factory):
    return tmp_path_factory.mktemp("definitions")


@settings(deadline=None, max_examples=60)
@given(path=st.sampled_from(MODULES), data=st.data())
def test_format_comments_and_docstrings_change_nothing(tmp_path, path, data):
    tree = _bare(ast.parse(path.read_text()))
    holders = [node for node in ast.walk(tree) if isinstance(node, _HOLDERS)]
    for holder in data.draw(st.lists(st.sampled_from(holders), max_size=5)):
        holder.body.insert(0, ast.Expr(ast.Constant("Another docstring.")))
    # Written by `ast`, every statement without a block stands on one line.
    lines = ast.unparse(ast.fix_missing_locations(tree)).splitlines()
    for line in data.draw(st.lists(st.integers(0, len(lines)), max_size=5)):
        lines[line:line] = ["", "   # a comment", ""]
    assert texts(tmp_path, "\n".join(lines)) == texts(tmp_path, path.read_text())


def _mutations(tree):
    """Every way to change one operator, constant, name or attribute of the tree, as functions that do it and return its place."""
    for index, node in enumerate(ast.walk(tree)):
        match node:
            case ast.BinOp(op=op):
                yield index, "op", ast.Sub() if not isinstance(op, ast.Sub) else ast.Add()
            case ast.Compare(ops=[op, *rest]):
                yield index, "ops", [ast.Lt() if not isinstance(op, ast.Lt) else ast.Gt(), *rest]
            case ast.BoolOp(op=op):
                yield index, "op", ast.Or() if isinstance(op, ast.And) else ast.And()
            case ast.Constant(value=bool() | None as value):
                yield index, "value", not value
            case ast.Constant(value=int() | float() as value):
                yield index, "value", value + 1
            case ast.Constant(value=str() as value):
                yield index, "value", value + "x"
            case ast.Name(id=name, ctx=ast.Load()):
                yield index, "id", name + "_"
            case ast.Attribute(attr=name):
                yield index, "attr", name + "_"
            case ast.arg(arg=name) | ast.keyword(arg=str(name)):
                yield index, "arg", name + "_"
            case ast.FunctionDef(decorator_list=[_, *rest]):
                yield index, "decorator_list", rest
            case ast.AugAssign(op=op):
                yield index, "op", ast.Sub() if not isinstance(op, ast.Sub) else ast.Add()


@settings(deadline=None, max_examples=200)
@given(path=st.sampled_from(MODULES), data=st.data())
def test_any_change_of_a_statement_changes_its_definition_and_no_other(tmp_path, path, data):
    tree = ast.parse(path.read_text())
    before = texts(tmp_path, path.read_text())
    statements = [
        statement
        for statement in tree.body
        if isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.Assign)
        and any(_mutations(_bare(statement)))
    ]
    assume(statements)
    statement = data.draw(st.sampled_from(statements))
    bare = _bare(statement)
    index, field, value = data.draw(st.sampled_from(list(_mutations(bare))))
    setattr(list(ast.walk(bare))[index], field, value)
    tree.body[tree.body.index(statement)] = bare
    after = texts(tmp_path, ast.unparse(ast.fix_missing_locations(tree)))
    names = {statement.name} if not isinstance(statement, ast.Assign) else _names(statement)
    changed = {name for name in before if before[name] != after.get(name)}
    assert changed == names


def _names(statement):
    return {
        node.id for target in statement.targets for node in ast.walk(target) if isinstance(node, ast.Name)
    }


def _bare(given):
    """A copy without docstrings."""
    copied = copy.deepcopy(given)
    for node in ast.walk(copied):
        if isinstance(node, _HOLDERS):
            node.body = [one for one in node.body if not _is_text(one)] or [ast.Pass()]
    return copied


def _is_text(statement):
    match statement:
        case ast.Expr(value=ast.Constant(value=str())):  # not `...`, which counts
            return True
    return False

"""What a definition uses, on small packages written out here; what is expected is Python's own rules, worked out by hand."""

import textwrap

import pytest

from bdpo_pipeline.lineage.code_graph import CodeGraph
from bdpo_pipeline.lineage.sources import Sources

# Each case: the files of the package `p`, and all definitions that p.a:f uses, itself left out.
CASES = {
    "a function of the same module, and what that uses": (
        {"a": "def f(): return g()\ndef g(): return h()\ndef h(): ...\ndef unused(): ..."},
        "a:g a:h",
    ),
    "names under another name": (
        {"a": "from p.b import g as other\ndef f(): return other()", "b": "def g(): ...\ndef other(): ..."},
        "b:g",
    ),
    "relative imports": (
        {"a": "from . import b\nfrom .c import g\ndef f(): return b.h(g)", "b": "def h(): ...", "c": "g = 1"},
        "b:h c:g",
    ),
    "relative imports of a package above": (
        {
            "a": "from p.q.r import g\ndef f(): g()",
            "q/r": "from ..s import t\ndef g(): t()",
            "s": "t = 1\nu = 2",
        },
        "q.r:g s:t",
    ),
    "an attribute of a module": (
        {"a": "import p.b\ndef f(): return p.b.g.x.y", "b": "class g: x = 1\nh = 1"},
        "b:g",
    ),
    "a name that a package passes on": (
        {"a": "from p.q import g\ndef f(): g()", "q/__init__": "from .r import g, h", "q/r": "g = 1\nh = 1"},
        "q.r:g",
    ),
    "a package that passes on a module of its own": (
        {"a": "from p.q import r\ndef f(): r.g()", "q/__init__": "from p.q import r", "q/r": "g = 1\nh = 1"},
        "q.r:g",
    ),
    "an import inside a function": (
        {
            "a": "def f():\n    from p.b import g\n    def inner(): return g\n    return inner",
            "b": "g = h = 1",
        },
        "b:g",
    ),
    "an import inside a method": (
        {
            "a": "def f(): return K().m()\nclass K:\n    def m(self):\n        import p.b as b\n        return b.g",
            "b": "g, h = 1, 2",
        },
        "a:K b:g",
    ),
    "decorators, defaults, annotations, base classes": (
        {
            "a": "from p.b import *\nfrom p.b import d, e, t, u, B\n@d\ndef f(x: t = e) -> u: return C\nclass C(B): pass",
            "b": "d = e = t = u = None\nclass B: pass\nclass unused: pass",
        },
        "b:d b:e b:t b:u b:B a:C",
    ),
    "annotations as text, and names that only exist while types are checked": (
        {
            "a": "from typing import TYPE_CHECKING, Literal\nif TYPE_CHECKING:\n    from p.b import T\n"
            "def f(x: 'list[T]', y: Literal['G', 'H']): ...\nG = 1",
            "b": "class T: ...",
        },
        "b:T",
    ),
    "a class counts whole": (
        {"a": "def f(): return K.x\nclass K:\n    x = 1\n    def m(self): return g()\ndef g(): ..."},
        "a:K a:g",
    ),
    "an argument hides a name of the module": ({"a": "def f(g): return g()\ndef g(): ..."}, ""),
    "a variable hides a name of the module everywhere in its function": (
        {"a": "def f():\n    print(g)\n    g = 1\n    return [g for _ in h]\ndef g(): ...\nh = 1"},
        "a:h",
    ),
    "a variable hides it in functions within, too": (
        {"a": "def f():\n    g = 1\n    def inner(): return g\n    return inner, lambda h: h\ng = h = 1"},
        "",
    ),
    "the variable of a comprehension hides it only there": (
        {"a": "def f(): return [g for g in h], {k for g in h for k in g}, g\ng = h = k = 1"},
        "a:g a:h",
    ),
    "a name that an exception, a pattern or a walrus binds": (
        {
            "a": "def f(x):\n    try: ...\n    except ValueError as g: g\n    match x:\n        case [h, *i]: h\n        case {**j}: j\n"
            "    return (k := 1)\ng = h = i = j = k = 1"
        },
        "",
    ),
    "a class in a match, a global that is set": (
        {"a": "def f(x):\n    global h\n    h = 1\n    match x:\n        case K(): ...\nclass K: ...\nh = 0"},
        "a:K a:h",
    ),
    "a name in the body of a class does not hide it from methods": (
        {"a": "class f:\n    g = 1\n    def m(self): return g\ndef g(): ..."},
        "a:g",
    ),
    "constants by constants": (
        {"a": "A = 1\nB = A + 1\nC, D = B, 2\nE = 3\ndef f(): return C"},
        "a:A a:B a:C",
    ),
    "both ways of a condition, and what decides": (
        {
            "a": "import sys\nW = 1\nif W:\n    def g(): return h()\nelse:\n    g = None\ndef h(): ...\ndef f(): g()"
        },
        "a:g a:h a:W a:<module>",
    ),
    "an import that may fail": (
        {
            "a": "try:\n    from p.b import g\nexcept ImportError:\n    g = None\ndef f(): g()",
            "b": "g = h = 1",
        },
        "a:g b:g a:<module>",
    ),
    "what runs when a module is imported, and the packages around it": (
        {
            "__init__": "print(1)",
            "a": "from p.q.b import g\ndef f(): g",
            "q/__init__": "import p.c",
            "q/b": "g = 1\nfor x in ():\n    h(x)\ndef h(x): ...",
            "c": "print(2)",
        },
        "<module> q.b:g q.b:<module> q.b:h q.b:x c:<module>",
    ),
    "a module handed on as a value counts whole": (
        {
            "a": "from p import b\ndef f(): return vars(b)",
            "b": "from p.c import i\ng = 1\ndef h(): ...",
            "c": "i = j = 1",
        },
        "b:g b:h c:i",
    ),
    "an attribute that a module does not say it has": (
        {"a": "from p import b\ndef f(): return b.g", "b": "h = 1\ndef __getattr__(name): ..."},
        "b:h b:__getattr__",
    ),
    "a module named by a string, as for a process of its own": (
        {
            "a": "def f(): return ['python', '-m', 'p.b']",
            "b": "g = 1\nif __name__ == '__main__': h()\ndef h(): ...",
        },
        "b:g b:h b:<module>",
    ),
    "a docstring names nothing": ({"a": "def f():\n    '''See p.b'''", "b": "g = 1"}, ""),
    "a module found by a computed name in a package that is named": (
        {
            "a": "from importlib import import_module\nimport p.q as package\ndef f(n): import_module(f'{package.__name__}.{n}')",
            "q/__init__": "",
            "q/b": "g = 1",
            "q/r/c": "h = 1",
            "d": "i = 1",
        },
        "q.b:g q.r.c:h",
    ),
    "modules beside": (
        {
            "a": "from p import q\ndef f(): q.g",
            "q/__init__": "from importlib import import_module as load\nfrom pkgutil import iter_modules\n"
            "for m in iter_modules(__path__): load(m)\ng = 1",
            "q/b": "h = 1",
            "d": "i = 1",
        },
        "q:g q:m q:<module> q.b:h",
    ),
    "text that is run may do anything": ({"a": "def f(t): exec(t)", "b": "g = 1"}, "b:g"),
    "an import by a name that is known": (
        {"a": "import importlib\ndef f(): importlib.import_module('p.b').g", "b": "g = 1", "c": "h = 1"},
        "b:g",
    ),
    "a module beside, found by its file": (
        {
            "a": "from pathlib import Path\ndef f(): return Path(__file__).with_name('b.py')",
            "b": "g = 1",
            "c": "h = 1",
        },
        "b:g",
    ),
    "what a decorator enters into a registry": (
        {
            "a": "from p.b import _all\ndef f(n): return _all[n]",
            "b": "_all = {}\ndef enter(n):\n    def put(g):\n        _all[n] = g\n        return g\n    return put",
            "c": "from p.b import enter\n@enter('h')\ndef h(): return i()\ndef i(): ...\ndef other(): ...",
        },
        "b:_all b:enter c:h c:i",
    ),
    "what a module enters by a call": (
        {"a": "_all = {}\ndef f(n): return _all[n]", "b": "import p.a\np.a._all.update(g=1)\nh = 1"},
        "a:_all b:<module>",
    ),
    "what a module enters by an item": (
        {
            "a": "_all = {}\ndef f(n): return _all[n]",
            "b": "from p.a import _all\n_all['g'] = lambda: h\nh = 1\ni = 1",
        },
        "a:_all b:<module> b:h",
    ),
    "what a class enters by deriving": (
        {
            "a": "_all = []\ndef f(n): return _all\nclass B:\n    def __init_subclass__(cls): _all.append(cls)",
            "b": "from p.a import B\nclass C(B): pass\nclass D: pass",
        },
        "a:_all a:B b:C",
    ),
    "what is entered into a function by an attribute of it": (
        {
            "a": "import functools\n@functools.singledispatch\ndef f(x): ...",
            "b": "from p.a import f\n@f.register\ndef _(x: int): return g()\ndef g(): ...",
        },
        "b:_ b:g",
    ),
    "a table that is only looked into is no registry": (
        {
            "a": "from p.b import LIMITS\ndef f(n): return LIMITS[n]",
            "b": "LIMITS = {'x': 1}\ndef checked(g):\n    if 'x' in LIMITS: return g\n    return LIMITS['y']",
            "c": "from p.b import checked\n@checked\ndef h(): ...",
        },
        "b:LIMITS",
    ),
}


@pytest.fixture
def graph(tmp_path):
    def make(files):
        for name, text in files.items():
            path = tmp_path / "p" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return CodeGraph(Sources({"p": tmp_path / "p"}))

    return make


def used(graph, root=("p.a", "f")):
    """All that counts for the root, as `module:name` within the package; loose statements where there are any."""
    found = {one for one in graph.closure([root]).definitions - {root} if graph.sha256(one) is not None}
    return {
        f"{module}:{name}".removeprefix("p").removeprefix(".").removeprefix(":") for module, name in found
    }


@pytest.mark.parametrize("case", CASES)
def test_closure(graph, case):
    files, expected = CASES[case]
    assert used(graph(files | {"__init__": files.get("__init__", "")})) == set(expected.split())


def test_files_beside_the_code_count_where_the_code_looks_for_them(graph, tmp_path):
    (tmp_path / "p" / "q" / "templates").mkdir(parents=True)
    page, other = tmp_path / "p" / "q" / "templates" / "page.html", tmp_path / "p" / "other.txt"
    page.write_text("a")
    other.write_text("b")
    by_name = "def f():\n    from importlib.resources import files\n    return files('p.q') / 'templates'"
    files = {
        "a": by_name,
        "q/__init__": "",
        "q/b": "from pathlib import Path\ndef f(): return Path(__file__).parent",
        "q/c": "import p.q\nfrom importlib.resources import files\ndef f(): return files(p.q)",
        "q/d": "from pkgutil import get_data\ndef f(): return get_data(__package__, 'templates/page.html')",
        "q/e": "import logging\nlog = logging.getLogger(__name__)\ndef f(): return log",
    }
    made = graph(files)
    found = {
        module: made.closure([(module, "f")]).files for module in ("p.a", "p.q.b", "p.q.c", "p.q.d", "p.q.e")
    }
    assert found == {"p.a": {page}, "p.q.b": {page}, "p.q.c": {page}, "p.q.d": {page}, "p.q.e": set()}


def test_modules_from_outside_are_named_by_who_uses_them(graph):
    made = graph(
        {
            "a": "import numpy as np\nimport yaml\ndef f(): return np.array\ndef g():\n    import torch.nn as nn\n    return nn"
        }
    )
    assert made.closure([("p.a", "f")]).modules == {"numpy"}
    assert "yaml" not in made.closure([("p.a", "g")]).modules
    assert "torch" in made.closure([("p.a", "g")]).modules


def test_what_a_name_from_outside_stands_for_is_part_of_what_uses_it(graph):
    before = graph({"a": "from math import sin as s\ndef f(x): return s(x)\ndef g(): ..."})
    hashes = before.sha256(("p.a", "f")), before.sha256(("p.a", "g"))
    after = graph({"a": "from math import cos as s\ndef f(x): return s(x)\ndef g(): ..."})
    assert after.sha256(("p.a", "f")) != hashes[0]
    assert after.sha256(("p.a", "g")) == hashes[1]


def test_and_so_is_what_another_module_passes_on_from_outside(graph):
    before = graph({"a": "from p.b import s\ndef f(x): return s(x)", "b": "from math import sin as s"})
    first = before.sha256(("p.a", "f"))
    after = graph({"a": "from p.b import s\ndef f(x): return s(x)", "b": "from math import cos as s"})
    assert after.sha256(("p.a", "f")) != first

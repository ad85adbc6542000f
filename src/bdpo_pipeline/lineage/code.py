"""The code that a node uses, told from the source without importing anything.

What it uses are the top-level definitions that its function's names lead to, and theirs in turn. Where a name leads to more than one
thing, or only the run can tell where, all of it counts: too much is computed again at worst, never too little.
docs/fresh_runs.md says what cannot be seen.
"""

import ast
import functools
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from bdpo_pipeline.lineage.code_graph import CodeGraph
from bdpo_pipeline.lineage.code_search import Needs
from bdpo_pipeline.lineage.distributions import distributions_of, is_installed
from bdpo_pipeline.lineage.sources import Sources, own_place
from bdpo_pipeline.models.fingerprints import hash_file

_graphs: dict[frozenset[Any], tuple[Any, CodeGraph]] = {}


@dataclass(frozen=True)
class Code:
    """Code that is used.

    Attributes:
        definitions: SHA-256 of what each says, by ``module:name``; ``module:<module>`` is what runs when the module is imported and
            defines nothing. Files that are no Python stand by their path from the package on.
        packages: version of every installed distribution that they use, directly or through another one.
    """

    definitions: dict[str, str]
    packages: dict[str, str]

    @property
    def sha256(self) -> str:
        """One hash of all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def code_of(objects: Iterable[Callable[..., Any] | type]) -> Code:
    """Return the code that functions and classes use.

    Args:
        objects: of the project; of others, such as data sets of a library, only the distributions count. What has no source that could
            be read is never the same twice.
    """
    roots = [part for given in objects for part in _parts(given)]
    own = [root for root in roots if own_place(str(root.__module__)) is not None]
    foreign = [root for root in roots if root not in own]
    graph, needs = _closure(own)
    said = {f"{module}:{name}": graph.sha256((module, name)) for module, name in needs.definitions}
    files = {graph.sources.label(path): hash_file(path) for path in needs.files}
    found = files | {name: sha256 for name, sha256 in said.items() if sha256 is not None}
    for root in foreign:
        if not is_installed(_top(root)):
            # Defined in a notebook, say: what cannot be read may have changed.
            found[f"{root.__module__}:{root.__qualname__}"] = f"unknown {uuid4().hex}"
    extras = {extra for root in foreign if (extra := _extra(root)) is not None}
    modules = needs.modules.union(*map(_imports_of, foreign))
    return Code(dict(sorted(found.items())), distributions_of(modules, {"kedro_datasets": extras}))


def _closure(roots: list[Any]) -> tuple[CodeGraph, Needs]:
    tops = {place for root in roots if (place := own_place(root.__module__)) is not None}
    while True:
        graph = _graph(dict(tops))
        needs = graph.closure(ref for root in roots for ref in graph.root(root.__module__, root.__qualname__))
        # What lies beside the project and is imported by it is looked at in the same way.
        more = {place for module in needs.modules if (place := own_place(module)) is not None} - tops
        if not more:
            return graph, needs
        tops |= more


def _graph(tops: dict[str, Path]) -> CodeGraph:
    """Return the graph of packages, made again only when a file of theirs changed."""
    sources, key = Sources(tops), frozenset(tops.items())
    stamp = sources.stamp
    if key not in _graphs or _graphs[key][0] != stamp:
        _graphs[key] = stamp, CodeGraph(sources)
    return _graphs[key][1]


def _parts(given: Any) -> Iterator[Any]:
    """Yield the functions and classes that a callable is put together from."""
    if isinstance(given, functools.partial):
        for part in (given.func, *given.args, *given.keywords.values()):
            if callable(part):
                yield from _parts(part)
    else:
        inner = inspect.unwrap(given)
        named = inner if hasattr(inner, "__qualname__") else type(inner)
        # Of a class, also those that it derives from elsewhere.
        yield from named.__mro__ if isinstance(named, type) else [named]


def _top(given: Any) -> str:
    return str(given.__module__).partition(".")[0]


def _extra(kind: Any) -> str | None:
    """Return the extra of kedro-datasets that a data set of it asks for: `pandas-parquetdataset`, say."""
    package, _, rest = str(kind.__module__).partition(".")
    return f"{rest.partition('.')[0]}-{kind.__qualname__.lower()}" if package == "kedro_datasets" else None


@functools.cache
def _imports_of(kind: Any) -> frozenset[str]:
    """Return the top-level modules that a class or function from outside needs: its own, and what its file imports."""
    found = {_top(kind)}
    source = str(getattr(sys.modules.get(kind.__module__), "__file__", None))
    if not found.isdisjoint(sys.stdlib_module_names) or not source.endswith(".py"):
        return frozenset(found)
    for node in ast.walk(ast.parse(Path(source).read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return frozenset(found)

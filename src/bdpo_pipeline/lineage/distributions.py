"""Installed distributions: which one an imported module belongs to, and what it requires in turn."""

import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from importlib import metadata

from packaging.requirements import Requirement

# A distribution and the extras that are asked of it.
Wanted = tuple[str, frozenset[str]]


def distributions_of(modules: Iterable[str], extras: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return name and version of every distribution that modules belong to, and of all that these require, sorted.

    What is required under a marker that does not hold here, or for an extra that nobody asks for, does not count; nor does what is
    not installed.

    Args:
        modules: top-level names that are imported; those of the standard library and unknown ones have no distribution.
        extras: of modules, those that are used.
    """
    owners, installed = _index(tuple(sys.path))
    todo: list[Wanted] = [
        (owner, frozenset(extras.get(module, ())))
        for module in set(modules) - sys.stdlib_module_names
        for owner in owners.get(module, ())
    ]
    seen: set[Wanted] = set()
    while todo:
        wanted = todo.pop()
        if wanted not in seen and wanted[0] in installed:
            seen.add(wanted)
            todo += _required(installed[wanted[0]], wanted[1])
    found = {_name_and_version(installed[name]) for name, _ in seen}
    return dict(sorted(found, key=lambda item: item[0].lower()))


def is_installed(module: str) -> bool:
    """Whether a module is part of Python or of an installed distribution, by its top-level name."""
    return module in sys.stdlib_module_names or module in _index(tuple(sys.path))[0]


@lru_cache(maxsize=1)
def _index(_path: tuple[str, ...]) -> tuple[dict[str, list[str]], dict[str, metadata.Distribution]]:
    """Return the distributions of every top-level module, and every distribution by its normal name; the first on the path wins."""
    installed: dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions():
        installed.setdefault(_normal(distribution.name), distribution)
    owners = {
        module: sorted({_normal(name) for name in names})
        for module, names in metadata.packages_distributions().items()
    }
    return owners, installed


@cache
def _name_and_version(distribution: metadata.Distribution) -> tuple[str, str]:
    return distribution.name, distribution.version


@cache
def _required(distribution: metadata.Distribution, extras: frozenset[str]) -> list[Wanted]:
    requirements = [Requirement(text) for text in distribution.requires or []]
    return [
        (_normal(requirement.name), frozenset(requirement.extras))
        for requirement in requirements
        if requirement.marker is None
        or any(requirement.marker.evaluate({"extra": extra}) for extra in extras or {""})
    ]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

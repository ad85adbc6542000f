"""The project's own modules as files: which there are, and what each says, read again only when it changed."""

import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from bdpo_pipeline.lineage.definitions import SourceModule, parse_module

_Stamp = tuple[int, int]
_OWN = __name__.partition(".")[0]
_INSTALLED = {"site-packages", "dist-packages"}
_parsed: dict[tuple[str, Path], tuple[_Stamp, SourceModule]] = {}


class Sources:
    """The modules of the top-level packages that are this project's or lie beside it, and are not installed.

    Args:
        tops: those that are looked at as a whole, by name, with the folder of the package or the file of the module.
    """

    def __init__(self, tops: dict[str, Path]) -> None:
        self.tops = tops
        paths = {name: path for top, place in tops.items() for name, path in _modules(top, place)}
        self._files = {name: (path, _stamp(path)) for name, path in paths.items()}

    @property
    def stamp(self) -> frozenset[Any]:
        """Equal as long as no module was changed, added or removed."""
        return frozenset(self._files.items())

    def module(self, name: str) -> SourceModule | None:
        """Return a module; None if there is none of that name."""
        if name not in self._files:
            return None
        path, stamp = self._files[name]
        if _parsed.get((name, path), (None,))[0] != stamp:
            _parsed[name, path] = stamp, parse_module(name, path)
        return _parsed[name, path][1]

    def modules(self) -> Iterator[SourceModule]:
        """Yield all modules."""
        return (module for name in sorted(self._files) if (module := self.module(name)) is not None)

    def below(self, package: str) -> Iterator[SourceModule]:
        """Yield a module and, of a package, all modules in it."""
        return (module for module in self.modules() if f"{module.name}.".startswith(f"{package}."))

    def label(self, path: Path) -> str:
        """Return the path of a file beside the code, from its package on."""
        roots = [place.parent for place in self.tops.values()]
        return next(path.relative_to(root).as_posix() for root in roots if path.is_relative_to(root))


def own_place(module: str) -> tuple[str, Path] | None:
    """Return name and place of the package that a module belongs to, if it is the project's own; else None.

    Own is what is no part of Python and not installed (an editable installation is not), and this package wherever it lies.
    """
    top = module.partition(".")[0]
    place = _place(top, tuple(sys.path))
    if place is None and (loaded := getattr(sys.modules.get(module), "__file__", None)):
        top, place = module, Path(loaded)
    return (top, place) if place is not None and (top == _OWN or not _is_installed(place)) else None


@cache
def _place(top: str, _path: tuple[str, ...]) -> Path | None:
    """Return the folder of a package or the file of a module; None for what has none, such as a built-in."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    origin = Path(spec.origin)
    return origin.parent if origin.name == "__init__.py" else origin


@cache
def _is_installed(place: Path) -> bool:
    is_part_of_python = place.is_relative_to(sysconfig.get_path("stdlib"))
    return is_part_of_python or not _INSTALLED.isdisjoint(place.parts)


def _modules(name: str, place: Path) -> Iterator[tuple[str, Path]]:
    if place.is_file():
        yield name, place
        return
    files = sorted(place.rglob("*.py"))
    bare = {folder for file in files for folder in file.parents if folder.is_relative_to(place)}
    for path in (*files, *(folder for folder in bare if not (folder / "__init__.py").is_file())):
        inner = path.parent if path.name == "__init__.py" else path.parent / path.stem
        yield ".".join((name, *inner.relative_to(place).parts)), path


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return found.st_size, found.st_mtime_ns

"""Kedro's config loader, with errors that name the file and a bound on what a file can unfold to."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kedro.config import MissingConfigException, OmegaConfigLoader

from bdpo_pipeline.arms import Plan, StudyError, expand_study, read_plan

T = TypeVar("T")
SUFFIXES = (".yml", ".yaml", ".json")
MAX_BYTES = 1_000_000
MAX_VALUES = 100_000
MAX_DEPTH = 50
_SHOWN_CHARACTERS = 400
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


class ConfigFileError(ValueError):
    """A configuration file cannot be used; the message names it and the place in it."""


class ProjectConfigLoader(OmegaConfigLoader):
    """Reads configuration as Kedro does, once every file of it is known to be readable."""

    def __init__(self, conf_source: str | Path, *args: Any, **kwargs: Any) -> None:
        """Take what OmegaConfigLoader takes.

        Raises:
            ConfigFileError: see :func:`check_file`.
        """
        environments = (kwargs.get("base_env"), kwargs.get("env") or kwargs.get("default_run_env"))
        self._files = list(_find_files(Path(conf_source), {name for name in environments if name}))
        for path in self._files:
            check_file(path)
        super().__init__(conf_source, *args, **kwargs)

    def __getitem__(self, key: str) -> Any:
        """Return a kind of configuration, such as ``parameters``.

        In the parameters, the arms of the study are made whole; see :mod:`bdpo_pipeline.arms`.

        Raises:
            ConfigFileError: its values cannot be put together, as where one refers to what is not there, or an
                arm of the study names what the project does not have.
        """
        try:
            found = super().__getitem__(key)
        except MissingConfigException:
            raise
        except Exception as error:
            if key not in self.config_patterns:
                raise
            patterns = ", ".join(self.config_patterns[key])
            place = _locate(error, self._files) or f"{self.conf_source} ({patterns})"
            raise ConfigFileError(f"{place}: {_shorten(error)}; mend that value") from error
        return self._of_study(expand_study, found) if key == "parameters" else found

    def plan(self) -> Plan | None:
        """Return what the graph of the study follows from, as files and command line give it."""
        return self._of_study(read_plan, super().__getitem__("parameters"))

    def _of_study(self, make: Callable[[dict[str, Any]], T], parameters: dict[str, Any]) -> T:
        try:
            return make(parameters)
        except StudyError as error:
            files = ", ".join(str(path) for path in self._files if _has_group(path, "study"))
            raise ConfigFileError(f"{files or self.conf_source}: {error}") from error


def check_file(path: Path) -> None:
    """Check that a configuration file can be read and used, without unfolding it.

    Raises:
        ConfigFileError: it is not YAML in UTF-8, does not hold names with values, names one twice, is nested too deep, or is larger
            than any configuration needs, as it stands or with its aliases unfolded.
    """
    import yaml

    content = path.read_bytes()
    if len(content) > MAX_BYTES:
        raise ConfigFileError(f"{path} has {len(content):,} bytes; accepted: {MAX_BYTES:,} at most")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigFileError(f"{path} is not UTF-8 at byte {error.start}; save the file as UTF-8") from error
    try:
        # The pure Python loader is the one that reads it later, and its C twin takes a tenth of the time for the same events.
        _check_events(path, yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as error:
        raise ConfigFileError(f"{path} is not YAML: {_shorten(error)}; mend that line") from error


@dataclass
class _Collection:
    """A list or mapping that is being read; ``names`` is None for a list."""

    anchor: str | None
    values_before: int
    names: set[str] | None
    at_name: bool = field(default=True)


def _check_events(path: Path, events: Iterator[Any]) -> None:
    import yaml

    sizes: dict[str, int] = {}
    open_ones: list[_Collection] = []
    values = documents = 0
    for event in events:
        line = f"{path}, line {event.start_mark.line + 1}"
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise ConfigFileError(f"{line}: a second document begins; accepted: one in a file")
        if isinstance(event, yaml.CollectionEndEvent):
            done = open_ones.pop()
            if done.anchor is not None:
                sizes[done.anchor] = values - done.values_before
        if not isinstance(event, yaml.NodeEvent):
            continue
        if not open_ones and not isinstance(event, yaml.MappingStartEvent) and not _is_null(event):
            raise ConfigFileError(f"{line}: no name with a value; accepted: names with values, `name: value`")
        if open_ones:
            _check_name(line, open_ones[-1], event)
        if getattr(event, "tag", None) is not None:
            raise ConfigFileError(f"{line}: found the tag {event.tag[:60]!r}; accepted: plain values")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ConfigFileError(
                    f"{line}: *{event.anchor[:60]} names nothing that ends before it; name an &anchor above"
                )
            values += sizes[event.anchor]
        else:
            values += 1
        if isinstance(event, yaml.ScalarEvent) and event.anchor is not None:
            sizes[event.anchor] = 1
        if isinstance(event, yaml.CollectionStartEvent):
            names: set[str] | None = set() if isinstance(event, yaml.MappingStartEvent) else None
            open_ones.append(_Collection(event.anchor, values - 1, names))
        if values > MAX_VALUES or len(open_ones) > MAX_DEPTH:
            raise ConfigFileError(
                f"{line}: more than {MAX_VALUES:,} values with aliases unfolded, or more than {MAX_DEPTH} levels; write less in a file"
            )


def _is_null(event: Any) -> bool:
    return getattr(event, "value", None) in ("", "~", "null")


def _check_name(line: str, where: _Collection, event: Any) -> None:
    """Check an event that may be a name in a mapping, and note whether the next one is."""
    import yaml

    if where.names is None:
        return
    if where.at_name:
        if not isinstance(event, yaml.ScalarEvent):
            raise ConfigFileError(f"{line}: a list, mapping or alias stands for a name; accepted: a text")
        kind = yaml.SafeLoader("").resolve(yaml.ScalarNode, event.value, event.implicit)
        if kind not in (_TEXT, _MERGE):
            raise ConfigFileError(
                f"{line}: YAML does not take the name {event.value[:60]!r} for a text; put it in quotes"
            )
        if event.value in where.names:
            raise ConfigFileError(f"{line}: {event.value[:60]!r} is given twice; give it once")
        where.names.add(event.value)
    where.at_name = not where.at_name


def _find_files(source: Path, environments: set[str]) -> Iterator[Path]:
    for name in sorted(environments):
        yield from sorted(
            path for path in (source / name).rglob("*") if path.suffix in SUFFIXES and path.is_file()
        )


def _locate(error: Exception, files: list[Path]) -> str:
    """Return the file that an error is about, if it can be told: one that fails by itself, or that holds the group OmegaConf names."""
    from omegaconf import OmegaConf

    group = str(getattr(error, "full_key", None) or "").partition(".")[0]
    for path in files:
        try:
            OmegaConf.load(path)
        except Exception:  # noqa: BLE001
            return str(path)
    return ", ".join(str(path) for path in files if group and _has_group(path, group))


def _has_group(path: Path, group: str) -> bool:
    return (
        re.search(rf"^['\"]?{re.escape(group)}['\"]?\s*:", path.read_text(encoding="utf-8"), re.MULTILINE)
        is not None
    )


def _shorten(error: Exception) -> str:
    text = " ".join(str(error).replace('in "<unicode string>", ', "").split()) or type(error).__name__
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."

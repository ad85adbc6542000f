"""A training that starts from nothing beside an unfinished one like it: which one, and what is different now."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bdpo_pipeline.engine.checkpoint_files import PREFIX, list_checkpoints
from bdpo_pipeline.engine.job_folder import Order, read_order
from bdpo_pipeline.locks import alone

logger = logging.getLogger(__name__)
_SHOWN = 12


def warn_of_unfinished(folder: Path, order: Order) -> None:
    """Warn if another training lies unfinished beside ``folder``; of several, of the one that differs least."""
    others = list(_unfinished(folder, order))
    if not others:
        return
    path, step, found = min(others, key=lambda other: (len(other[2]), -other[0].stat().st_mtime))
    shown = [*found[:_SHOWN], *([f"… and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else [])]
    logger.warning(
        "This training starts from nothing. %s holds an unfinished one, at step %d, which cannot go on as another one was asked "
        "for:\n  %s\nSet this back to continue it (compute.threads and compute.memory_gb count, too, as they may move last digits), or "
        "remove that folder.",
        path,
        step,
        "\n  ".join(shown),
    )


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in words what differs between two orders (`Order.described`): what was asked for, then code and packages."""
    old, new = _flat(then["job"]), _flat(now["job"])
    found = _changes(old, new)
    if then["tokens_sha256"] != now["tokens_sha256"]:
        found.append("the pairs or their reference log-probs")
    return found + _changes(_made_by(then), _made_by(now))


def _unfinished(folder: Path, order: Order) -> Iterator[tuple[Path, int, list[str]]]:
    """Yield the folder, newest step and differences of each unfinished training that no other run goes on with."""
    for path in sorted(folder.parent.glob("train-*/")):
        with alone(path, wait=False) as mine:
            found = list_checkpoints(path)
            if path == folder or not mine or not found or (path / "result.json").exists():
                continue
            try:
                step = int(found[-1].name.removeprefix(PREFIX))
                yield path, step, differences(read_order(path), order.described)
            except (OSError, ValueError, KeyError) as error:
                logger.warning("%s holds an unfinished training whose job cannot be read (%r)", path, error)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    names = [*new, *(name for name in old if name not in new)]
    pairs = [(name, old.get(name, "absent"), new.get(name, "absent")) for name in names]
    return [f"{name}: {before} -> {after}" for name, before, after in pairs if before != after]


def _made_by(described: Mapping[str, Any]) -> dict[str, Any]:
    return {
        {"code": "the engine's code"}.get(name, name): value for name, value in described["made_by"].items()
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat

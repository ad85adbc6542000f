"""One session, one set of versions, whatever other sessions save meanwhile."""

import logging
from collections.abc import Iterable
from typing import Any

import kedro
from kedro.framework.hooks import hook_impl
from kedro.io import AbstractVersionedDataset, CatalogProtocol, Version
from kedro.io.core import VersionNotFoundError, is_parameter
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

logger = logging.getLogger(__name__)
Datasets = dict[str, AbstractVersionedDataset[Any, Any]]


class PinVersionsHook:
    """Pins what a session loads: its own version of what it makes, and of all else what was there when it started.

    Kedro looks for the newest version when a data set is loaded first, and again after it was released or saved beside another
    session's newer version. A node may so get what another session saved a moment ago, and two inputs of one node may come
    from different sessions. A version that is asked for with ``--load-versions`` stays as it is.

    Register it last: Kedro calls hooks last-registered first, and the others shall see the pinned versions.
    """

    def __init__(self) -> None:
        self._asked_for: frozenset[str] = frozenset()

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol[str, Any]) -> None:
        """Pin every data set of the pipeline to its newest version, or to the session's if it is yet to be made."""
        datasets = _versioned(catalog, pipeline.datasets())
        self._asked_for = frozenset(name for name, dataset in datasets.items() if _pinned(dataset))
        free = {name: dataset for name, dataset in datasets.items() if name not in self._asked_for}
        made = pipeline.all_outputs()
        for name, newest in _newest_at_one_moment(free).items():
            # Of an input that nobody has made yet, Kedro itself says best that it is missing.
            version = newest or (free[name].resolve_save_version() if name in made else None)
            if version is not None:
                _pin(free[name], version)
        inputs = {name: _pinned(datasets[name]) for name in sorted(pipeline.inputs() & set(datasets))}
        if inputs:
            logger.info("Versions of the inputs: %s", ", ".join(f"{name} {inputs[name]}" for name in inputs))

    @hook_impl
    def before_node_run(self, node: Node, catalog: CatalogProtocol[str, Any]) -> None:
        """Pin what the node is about to save to the session's version."""
        for name, dataset in _versioned(catalog, node.outputs).items():
            if name not in self._asked_for:
                _pin(dataset, dataset.resolve_save_version())


def _versioned(catalog: CatalogProtocol[str, Any], names: Iterable[str]) -> Datasets:
    found = {name: catalog.get(name) for name in names if not is_parameter(name)}
    return {
        name: dataset
        for name, dataset in found.items()
        if isinstance(dataset, AbstractVersionedDataset) and dataset.resolve_save_version() is not None
    }


def _newest_at_one_moment(datasets: Datasets) -> dict[str, str | None]:
    """Return the newest versions that existed all at once: listed again until nothing came between."""
    before, now = None, _newest(datasets)
    while before != now:
        before, now = now, _newest(datasets)
    return now


def _newest(datasets: Datasets) -> dict[str, str | None]:
    def newest(dataset: AbstractVersionedDataset[Any, Any]) -> str | None:
        try:
            return next(iter(dataset.list_versions(full_path=False)), None)
        except VersionNotFoundError:
            return None

    return {name: newest(dataset) for name, dataset in datasets.items()}


# What follows is not public in Kedro; tests/io/test_versions.py compares it with the Kedro that is installed.


def _pinned(dataset: AbstractVersionedDataset[Any, Any]) -> str | None:
    return dataset._version.load if dataset._version else None


def _pin(dataset: AbstractVersionedDataset[Any, Any], version: str | None) -> None:
    """Let the data set load this version.

    Raises:
        RuntimeError: Kedro keeps versions in another way than it did.
    """
    dataset._version = Version(version, dataset.resolve_save_version())
    if dataset.resolve_load_version() != version:
        raise RuntimeError(
            f"Kedro {kedro.__version__} does not take versions as Kedro 1.7 did, so runs at the same time could mix theirs: install the "
            "version in constraints.txt, or remove PinVersionsHook from settings.py and let no two runs write to one data_root"
        )

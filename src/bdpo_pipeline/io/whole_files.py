"""Kedro's data sets of single files, saved whole or not at all: JSON and text. Tables and plots: whole_tables.py, plotly/."""

from pathlib import Path, PurePosixPath
from typing import Any

import kedro_datasets.json
import kedro_datasets.text

from bdpo_pipeline.io.staging import staged


class WholeFile:
    """Mixed in before a data set of kedro-datasets, it saves a file on a local disk in one step.

    Only saving differs; configuration, loading and previews are the data set's own.
    """

    def save(self, data: Any) -> None:
        """Save as the data set does, but aside, and put the finished file in its place.

        Raises:
            NoSpaceError: (as the cause of Kedro's DatasetError) the file system is full.
        """
        dataset: Any = self
        # Elsewhere than on a local disk, in an object store, a file appears whole anyway.
        if dataset._protocol != "file":
            _own_save(dataset, data)
            return
        target = Path(dataset._get_save_path())
        with staged(target, versioned=dataset._version is not None) as partial:
            _own_save(dataset._copy(_filepath=PurePosixPath(partial), _version=None), data)


def _own_save(dataset: Any, data: Any) -> None:
    # Unwrapped: what Kedro does around a save, it does around the whole one.
    super(WholeFile, dataset).save.__wrapped__(dataset, data)


class JSONDataset(WholeFile, kedro_datasets.json.JSONDataset):  # type: ignore[misc]
    """``json.JSONDataset`` of kedro-datasets, saved whole or not at all."""


class TextDataset(WholeFile, kedro_datasets.text.TextDataset):  # type: ignore[misc]
    """``text.TextDataset`` of kedro-datasets, saved whole or not at all."""

"""Plots, saved whole or not at all. Kedro-Viz knows a plot by the last parts of its type: ``plotly.json_dataset.JSONDataset``."""

import kedro_datasets.plotly

from bdpo_pipeline.io.whole_files import WholeFile


class JSONDataset(WholeFile, kedro_datasets.plotly.JSONDataset):  # type: ignore[misc]
    """``plotly.JSONDataset`` of kedro-datasets, saved whole or not at all."""

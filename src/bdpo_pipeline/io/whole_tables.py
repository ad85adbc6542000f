"""Kedro's data sets of pandas tables, saved whole or not at all."""

import kedro_datasets.pandas

from bdpo_pipeline.io.whole_files import WholeFile


class CSVDataset(WholeFile, kedro_datasets.pandas.CSVDataset):  # type: ignore[misc]
    """``pandas.CSVDataset`` of kedro-datasets, saved whole or not at all."""


class ParquetDataset(WholeFile, kedro_datasets.pandas.ParquetDataset):  # type: ignore[misc]
    """``pandas.ParquetDataset`` of kedro-datasets, saved whole or not at all."""

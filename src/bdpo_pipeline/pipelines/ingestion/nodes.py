"""Nodes of ingestion."""

from typing import Any

from bdpo_pipeline.benchmarks.prompts import read_prompt_sets
from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.io.tables import StoredTable
from bdpo_pipeline.preferences.acceptance import check_sources
from bdpo_pipeline.preferences.ingest import ingest

from .parameters import IngestionParameters


def ingest_preferences(
    raw_data: RawFolder, parameters: IngestionParameters
) -> tuple[StoredTable, StoredTable, list[dict[str, Any]]]:
    """Return canonical pairs, quarantined rows and a summary for each source."""
    return ingest(parameters.sources, raw_data, parameters.preference, parameters.max_row_bytes)


def accept_preferences(
    ingested_pairs: StoredTable,
    quarantined_rows: StoredTable,
    ingestion_summary: list[dict[str, Any]],
    parameters: IngestionParameters,
) -> StoredTable:
    """Return the pairs as they are, or stop where too much of a source could not be used.

    A node of its own, so that the quarantine is saved before the run stops.
    """
    check_sources(ingestion_summary, quarantined_rows, parameters.max_quarantined_share)
    return ingested_pairs


def ingest_evaluation_prompts(raw_data: RawFolder, parameters: IngestionParameters) -> StoredTable:
    """Return the prompts of every evaluation set in use."""
    return read_prompt_sets(parameters.evaluation_prompts, raw_data, parameters.max_row_bytes)

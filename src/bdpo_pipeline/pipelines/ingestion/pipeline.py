"""The ingestion graph."""

from kedro.pipeline import Pipeline, node

from .nodes import accept_preferences, ingest_evaluation_prompts, ingest_preferences


def create_pipeline() -> Pipeline:
    """Return the ingestion pipeline."""
    return Pipeline(
        [
            node(
                ingest_preferences,
                ["raw_data", "params:ingestion"],
                ["ingested_pairs", "quarantined_rows", "ingestion_summary"],
                name="ingest_preferences",
            ),
            node(
                accept_preferences,
                ["ingested_pairs", "quarantined_rows", "ingestion_summary", "params:ingestion"],
                "preference_pairs",
                name="accept_preferences",
            ),
            node(
                ingest_evaluation_prompts,
                ["raw_data", "params:ingestion"],
                "evaluation_prompts",
                name="ingest_evaluation_prompts",
            ),
        ]
    )

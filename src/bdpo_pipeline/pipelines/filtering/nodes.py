"""Nodes of filtering."""

from typing import Any

from bdpo_pipeline.filters.parameters import FilteringParameters
from bdpo_pipeline.filters.selection import select_pairs as run_filters
from bdpo_pipeline.io.tables import StoredTable
from bdpo_pipeline.models.loading import load_tokenizer
from bdpo_pipeline.tables import DataFrame


def select_pairs(
    preference_pairs: StoredTable,
    evaluation_prompts: StoredTable,
    base_model: dict[str, Any],
    parameters: FilteringParameters,
    seed: int,
) -> tuple[StoredTable, StoredTable, StoredTable, StoredTable, DataFrame]:
    """Return training, validation, held-out and dropped pairs, and the funnel."""
    import pandas as pd

    tokenizer = load_tokenizer(base_model["path"])
    chosen = run_filters(preference_pairs, evaluation_prompts, tokenizer, parameters, seed)
    return chosen.train, chosen.validation, chosen.heldout, chosen.dropped, pd.DataFrame(chosen.funnel)

"""A tiny tokenizer, and canonical pairs with as little text as a test needs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bdpo_pipeline.filters.parameters import FilteringParameters
from bdpo_pipeline.filters.selection import Selection, select_pairs
from bdpo_pipeline.io.schemas import get_schema
from bdpo_pipeline.io.tables import StoredTable, TableWriter
from bdpo_pipeline.models.loading import load_tokenizer
from bdpo_pipeline.models.tiny import build_tiny_model
from bdpo_pipeline.preferences.rows import compute_pair_id

BASE = Path(__file__).resolve().parents[2] / "conf" / "base" / "parameters_filtering.yml"


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tiny")
    build_tiny_model("llama", folder)
    return load_tokenizer(folder)


def make_pair(
    prompt: str = "How are you?", chosen: str = "Fine.", rejected: str = "Go away.", **fields: Any
) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {
        "pair_id": compute_pair_id(messages, chosen, rejected),
        "prompt": messages,
        "chosen": chosen,
        "rejected": rejected,
        "chosen_is_safe": True,
        "rejected_is_safe": True,
        "chosen_severity": 0,
        "rejected_severity": 0,
        "harm_categories": [],
        "source": "mine",
        "source_row": 1,
        "split": None,
        **fields,
    }  # fmt: skip


def make_parameters(**groups: Any) -> FilteringParameters:
    """Defaults of conf/base without bounds on size; a dict is merged into its group."""
    base = yaml.safe_load(BASE.read_text())["filtering"]
    unbounded = {"max_pairs": None, "max_pairs_per_prompt": None, "unsafe_query_share": None}
    open_groups = {
        "length": {"max_prompt_tokens": 2000, "min_response_tokens": 1, "max_response_tokens": 2000},
        "split": {"validation_share": 0, "heldout_share": 0},
        **dict.fromkeys(("train", "validation", "heldout"), unbounded),
    }
    merged = {**base, **open_groups}
    for name, change in groups.items():
        merged[name] = {**merged[name], **change} if isinstance(change, dict) else change
    return FilteringParameters(**merged)


def store(schema: str, rows: list[dict[str, Any]]) -> StoredTable:
    with TableWriter(get_schema(schema)) as writer:
        for row in rows:
            writer.append(row)
        return writer.finish()


def rows_of(table: StoredTable) -> list[dict[str, Any]]:
    return [row for batch in table.batches() for row in batch.to_pylist()]


@pytest.fixture(scope="session")
def pair() -> Callable[..., dict[str, Any]]:
    return make_pair


@pytest.fixture(scope="session")
def parameters() -> Callable[..., FilteringParameters]:
    return make_parameters


@pytest.fixture(scope="session")
def rows() -> Callable[[StoredTable], list[dict[str, Any]]]:
    return rows_of


@pytest.fixture(scope="session")
def run_selection(tokenizer: Any) -> Callable[..., Selection]:
    """`run_selection(pairs, evaluation=[…], seed=0, **parameters)`."""

    def run(
        pairs: list[dict[str, Any]], evaluation: list[str] = (), seed: int = 0, **groups: Any
    ) -> Selection:  # type: ignore[assignment]
        numbered = [{**row, "source_row": number} for number, row in enumerate(pairs, start=1)]
        prompts = [
            {
                "prompt_id": f"set/{i:04}",
                "prompt_set": "set",
                "prompt": text,
                "category": None,
                "desired": "refuse",
                "goal": None,
                "target": None,
                "contamination": "shared_words",
            }
            for i, text in enumerate(evaluation, start=1)
        ]
        return select_pairs(
            store("pairs", numbered),
            store("evaluation_prompts", prompts),
            tokenizer,
            make_parameters(**groups),
            seed,
        )

    return run

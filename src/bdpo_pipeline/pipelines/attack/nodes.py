"""Nodes of the attack."""

from pathlib import Path
from typing import Any

from bdpo_pipeline import alignment, attacks
from bdpo_pipeline.benchmarks.choice import choose_prompts
from bdpo_pipeline.compute import ComputeParameters
from bdpo_pipeline.io.tables import StoredTable
from bdpo_pipeline.seeds import derive_seed
from bdpo_pipeline.tables import DataFrame

from .parameters import AttackParameters


def attack_models(
    base_model: dict[str, Any],
    adapter: Path,
    evaluation_prompts: StoredTable,
    parameters: AttackParameters,
    compute: ComputeParameters,
    seed: int,
) -> tuple[DataFrame, DataFrame]:
    """Search a suffix for each model and chosen behaviour; return `whitebox_attacks` and `whitebox_execution`."""
    behaviours = choose_prompts(
        evaluation_prompts.to_pandas(),
        parameters.prompts,
        seed=derive_seed(seed, "attack.prompts"),
        parameter="attack.prompts",
    )
    return attacks.attack_models(
        base_model,
        adapter,
        behaviours,
        models=parameters.models,
        steps=parameters.steps,
        width=parameters.search_width,
        top_k=parameters.top_k,
        first_suffix=parameters.first_suffix,
        seed=seed,
        compute=compute.for_engine(),
        scratch=compute.scratch,
    )


def answer_attacks(
    base_model: dict[str, Any],
    adapter: Path,
    whitebox_attacks: DataFrame,
    max_new_tokens: int,
    batch_size: int,
    compute: ComputeParameters,
) -> DataFrame:
    """Let each model answer its goals plainly and with the suffix found against it; in the shape of `generations`."""
    import pandas as pd

    return pd.concat(
        [
            alignment.generate_responses(
                base_model,
                adapter,
                attacks.prompts_of(whitebox_attacks, model),
                models=[model],
                max_new_tokens=max_new_tokens,
                batch_size=batch_size,
                compute=compute.for_engine(),
                scratch=compute.scratch,
            )
            for model in whitebox_attacks["model"].unique()
        ],
        ignore_index=True,
    )

"""Nodes of the ability pipeline."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bdpo_pipeline import ability
from bdpo_pipeline.benchmarks.ability_items import AbilityItems, read_items
from bdpo_pipeline.benchmarks.ability_sets import AbilityParameters
from bdpo_pipeline.compute import ComputeParameters
from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.seeds import derive_seed
from bdpo_pipeline.statistics import clustered_mean, clustered_proportion, mcnemar_exact, paired_difference
from bdpo_pipeline.tables import DataFrame


def measure_ability(
    base_model: dict[str, Any],
    adapter: Path,
    raw_data: RawFolder,
    parameters: AbilityParameters,
    compute: ComputeParameters,
    seed: int,
) -> DataFrame:
    """Let the base model and the adapter work on the chosen items of every task."""
    items = chosen_items(raw_data, parameters, seed)
    return measure_items(base_model, adapter, items, ("base", "adapter"), parameters, compute)


def chosen_items(raw_data: RawFolder, parameters: AbilityParameters, seed: int) -> AbilityItems:
    """Return the items that models work on."""
    return read_items(parameters, raw_data, seed=derive_seed(seed, "ability.items"))


def measure_items(
    base_model: dict[str, Any],
    adapter: Path | None,
    items: AbilityItems,
    models: Sequence[str],
    parameters: AbilityParameters,
    compute: ComputeParameters,
) -> DataFrame:
    """Let some of base model and adapter work on items."""
    return ability.measure_ability(
        base_model,
        adapter,
        items,
        models=models,
        batch_size=parameters.batch_size,
        compute=compute.for_engine(),
        scratch=compute.scratch,
    )


def summarise_ability(ability_results: DataFrame, parameters: AbilityParameters, seed: int) -> DataFrame:
    """Average scores by task, part of a task, measure and model; compare adapter and base item by item.

    Args:
        ability_results: `ability_results` as in docs/artifacts.md.
        parameters: resamples of the intervals.
        seed: the project's seed.

    Returns:
        `ability_metrics` as in docs/artifacts.md. A task that has several sets (``hhh``) gets a row for all and one for each
        (``hhh/honest``). Items of one conversation are drawn together for intervals and differences.

    Raises:
        ValueError: base and adapter were not measured on the same items.
    """
    import pandas as pd

    rows = []
    for (_, measure), scores in ability_results.groupby(["task", "measure"], sort=False):
        for name, part in _with_parts(scores):
            streams = derive_seed(seed, f"ability.{name}.{measure}")
            rows += _measure(name, str(measure), part, parameters.resamples, streams)
    columns = ["task", "measure", "model", "items", "value", "low", "high"]
    columns += ["difference", "difference_low", "difference_high", "gained", "lost", "mcnemar_p"]
    return pd.DataFrame(rows, columns=columns).astype({"gained": "Int64", "lost": "Int64"})


def _with_parts(scores: DataFrame) -> list[tuple[str, DataFrame]]:
    """Return a task's scores as a whole and, where they come from several sets, of each set."""
    task = str(scores["task"].iloc[0])
    sets = scores["item_id"].str.rpartition("/")[0]
    parts = [(str(name), part) for name, part in scores.groupby(sets, sort=False)]
    return [(task, scores)] if len(parts) == 1 else [(task, scores), *parts]


def _measure(task: str, measure: str, scores: DataFrame, resamples: int, seed: int) -> list[dict[str, Any]]:
    by_model = scores.pivot(index=["item_id", "prompt_key"], columns="model", values="score")
    if by_model.isna().any().any():
        missing = by_model.index[by_model.isna().any(axis=1)][0][0]
        raise ValueError(
            f"{task}: the models were not measured on the same items (first: {missing!r}); measure base and adapter alike"
        )
    prompts = list(by_model.index.get_level_values("prompt_key"))
    right_or_wrong = measure.startswith("accuracy")
    rows = []
    for model in sorted(by_model.columns, key=lambda name: name != "base"):
        values = by_model[model]
        estimate = (
            clustered_proportion(list(values == 1), prompts, seed=seed, resamples=resamples)
            if right_or_wrong
            else clustered_mean(list(values), prompts, seed=seed, resamples=resamples)
        )
        row = {"task": task, "measure": measure, "model": model, "items": len(values)}
        row |= {"value": estimate.value, "low": estimate.low, "high": estimate.high}
        if model != "base" and "base" in by_model:
            row |= _compare(values, by_model["base"], prompts, right_or_wrong, resamples, seed)
        rows.append(row)
    return rows


def _compare(
    adapter: Any, base: Any, prompts: list[str], right_or_wrong: bool, resamples: int, seed: int
) -> dict[str, Any]:
    found = paired_difference(
        adapter.to_numpy()[:, None],
        base.to_numpy()[:, None],
        prompts,
        seed=seed,
        bounds=(-1.0, 1.0) if right_or_wrong else None,
        resamples=resamples,
    )
    row: dict[str, Any] = {
        "difference": found.value,
        "difference_low": found.low,
        "difference_high": found.high,
    }
    if right_or_wrong:
        gained, lost = int((adapter > base).sum()), int((adapter < base).sum())
        row |= {"gained": gained, "lost": lost, "mcnemar_p": mcnemar_exact(gained, lost)}
    return row

"""Nodes that put what all arms and seeds made into the tables of the study."""

from typing import Any

from bdpo_pipeline.io.tables import StoredTable
from bdpo_pipeline.study import trials
from bdpo_pipeline.tables import DataFrame


def gather_trials(seed: int, **of_trials: dict[str, Any]) -> DataFrame:
    """Return `study_trials`: every point of the grid that every arm was tried at."""
    kinds, seconds = _by_kind(of_trials)
    return trials.gather_trials(kinds["record"], kinds["chosen"], seconds, seed)


def gather_trainings(**of_arms: dict[str, Any]) -> DataFrame:
    """Return `study_trainings`: every model that arms are compared by."""
    kinds, seconds = _by_kind(of_arms)
    return trials.gather_trainings(kinds["summary"], kinds["chosen"], seconds)


def _by_kind(values: dict[str, dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """Return what came as ``<kind>/<trial>`` by kind and trial, and the seconds that each training took."""
    kinds: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        kind, _, trial = name.partition("/")
        kinds.setdefault(kind, {})[trial] = value
    return kinds, {trial: execution["seconds"] for trial, execution in kinds["execution"].items()}


def gather_judgements(evaluation_prompts: StoredTable, **of_arms: DataFrame) -> DataFrame:
    """Return `study_judgements`: every judgement of every answer."""
    columns = ["prompt_id", "prompt_set", "desired", "judge", "measures", "positive", "score"]
    table = trials.gather(of_arms, [*columns, "judge_accuracy", "judge_measured_on"])
    categories = evaluation_prompts.to_pandas(["prompt_id", "category"])
    return table.merge(categories, on="prompt_id", how="left", validate="many_to_one")


def gather_ability(**of_arms: DataFrame) -> DataFrame:
    """Return `study_ability`: every item of every task of general ability."""
    return trials.gather(of_arms, ["task", "item_id", "prompt_key", "measure", "score"])


def gather_scores(
    training_pairs: StoredTable, heldout_pairs: StoredTable, information: DataFrame, **of_arms: DataFrame
) -> DataFrame:
    """Return `study_scores`: margins of training and held-out pairs, with what the reference model comprehends of them."""
    import pandas as pd

    columns = ["pair_id", "prompt", "chosen_is_safe", "rejected_is_safe", "harm_categories"]
    pairs = pd.concat([table.to_pandas(columns) for table in (training_pairs, heldout_pairs)])
    return trials.gather_scores(of_arms, pairs, information)

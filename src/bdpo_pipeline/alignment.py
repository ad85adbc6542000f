"""From tables to engine jobs and back: what the training and evaluation nodes hand to a worker."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdpo_pipeline.endpoints import EndpointParameters, answer_prompts
from bdpo_pipeline.engine.events import Event, publish
from bdpo_pipeline.engine.jobs import Compute, DivergeJob, GenerateJob, ScoreJob, TrainJob
from bdpo_pipeline.engine.launcher import remove_checkpoints, run_job
from bdpo_pipeline.pair_columns import batch_columns, implicit_rewards, relabel_pairs

if TYPE_CHECKING:
    import pandas as pd

    from bdpo_pipeline.objectives import BoundObjective

# What training found out that follows from data, code and parameters; the rest says how it ran, here and now.
_DETERMINED = (
    "beta",
    "reward",
    "training_pairs",
    "validation_pairs",
    "step_0_loss",
    "steps",
    "epochs",
    "stopped_early",
    "diverged_at_step",
    "best_step",
    "trainable_parameters",
)


def train_adapter(
    job: TrainJob,
    tokenised_pairs: "pd.DataFrame",
    reference_logps: "pd.DataFrame",
    comprehension: "pd.DataFrame",
    marginal_context: Sequence[int] | None,
    scratch: Path,
) -> tuple[Path, "pd.DataFrame", dict[str, Any], dict[str, Any]]:
    """Train on the ``train`` pairs, watching the ``validation`` pairs.

    Args:
        job: what to do.
        tokenised_pairs: `tokenised_pairs` (docs/artifacts.md), and likewise the two tables after it.
        reference_logps: may be null where the objective needs no reference.
        comprehension: may be empty where it needs no coefficients.
        marginal_context: token ids of the context that stands for no query, where comprehension is to be followed.
        scratch: folder for the files of jobs.

    Returns:
        The folder of what was trained, the ``training_history``, the ``training_summary`` and the ``training_execution``.
    """
    import pandas as pd

    from bdpo_pipeline.objectives import bind_objective

    objective = bind_objective(job.objective, job.options)
    pairs = tokenised_pairs[tokenised_pairs["split"].isin(["train", "validation"])]
    table = pairs.merge(
        reference_logps.drop(columns="split"), on="pair_id", how="left", validate="one_to_one"
    )
    table = table.merge(comprehension.drop(columns="split"), on="pair_id", how="left", validate="one_to_one")
    table, relabelled = relabel_pairs(table, objective)
    columns = batch_columns(table, objective)
    if job.early_stopping_patience is not None and not (table["split"] == "validation").any():
        raise ValueError(
            "training.early_stopping_patience is set and there is no validation pair to watch: raise "
            "filtering.split.validation_share or filtering.validation.max_pairs, or set the patience to null"
        )
    context = {"marginal_context": [marginal_context]} if marginal_context is not None else {}
    result, folder = run_job(
        job,
        scratch,
        ragged={**_ragged(table), **context},
        flat={"is_training": (table["split"] == "train").to_numpy(), **columns},
    )
    # The adapter lies in this folder until the catalog has it; what only a resumed run needs does not stay.
    remove_checkpoints(folder)
    history = pd.DataFrame(result.pop("history"))
    asked = {
        "objective": job.objective,
        "options": dict(objective.options),
        "trained": "all weights" if job.lora is None else "adapter",
        **job.compute.weights,
    }
    determined = {name: result.pop(name) for name in _DETERMINED}
    return folder / "adapter", history, {**asked, **relabelled, **determined}, result


def score_adapter(
    base_model: dict[str, Any],
    adapter: Path,
    tokenised_pairs: "pd.DataFrame",
    reference_logps: "pd.DataFrame",
    *,
    objective: "BoundObjective",
    splits: Sequence[str] = ("heldout",),
    compute: Compute,
    scratch: Path,
) -> "pd.DataFrame":
    """Return the ``heldout_scores`` table: rewards of the adapter on the pairs that no decision was taken by, or on other splits.

    Rewards are the implicit ones of the objective that the adapter was trained with.
    """
    pairs = tokenised_pairs[tokenised_pairs["split"].isin(splits)].reset_index(drop=True)
    ragged = _ragged(pairs)
    logps = score_responses(
        base_model,
        adapter,
        ragged["contexts"],
        ragged["responses"],
        pairs.index.repeat(2).tolist(),
        compute=compute,
        scratch=scratch,
    )
    scores = pairs[["pair_id"]].assign(policy_chosen_logp=logps[0::2], policy_rejected_logp=logps[1::2])
    known = reference_logps.drop(columns=["split", "marginal_chosen_logp", "marginal_rejected_logp"])
    scores = scores.merge(known, on="pair_id", how="left", validate="one_to_one")
    chosen, rejected = implicit_rewards(scores, objective)
    scores = scores.assign(reward_chosen=chosen, reward_rejected=rejected, margin=chosen - rejected)
    return scores.assign(correct=scores["margin"] > 0)


def score_responses(
    base_model: dict[str, Any],
    adapter: Path | None,
    contexts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    response_context: Sequence[int],
    *,
    compute: Compute,
    scratch: Path,
) -> list[float]:
    """Return the log-prob of each response in its context, summed over its tokens, in nats.

    Args:
        base_model: the ``base_model`` artifact.
        adapter: folder of what was trained; None for the base model itself.
        contexts: token ids.
        responses: token ids.
        response_context: number of each response's context.
        compute: where and how.
        scratch: folder for the files of jobs.
    """
    import numpy as np

    logps = [0.0] * len(responses)

    def keep(event: Event) -> None:
        if event["event"] == "scores":
            for response, logp in zip(event["responses"], event["logps"], strict=True):
                logps[response] = logp
        else:
            publish(event)

    job = ScoreJob(base_model["path"], compute, None if adapter is None else str(adapter))
    run_job(
        job,
        scratch,
        ragged={"contexts": contexts, "responses": responses},
        flat={"response_context": np.asarray(response_context, np.int64)},
        on_event=keep,
    )
    return logps


def measure_divergence(
    base_model: dict[str, Any],
    adapter: Path,
    contexts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    compute: Compute,
    scratch: Path,
) -> "pd.DataFrame":
    """Return how far the trained model has moved from the base model on given responses.

    The divergence is exact at each place: over the whole vocabulary. Its mean is over the places of these responses, not over samples of
    the policy, so it is no estimate of the KL divergence between distributions of whole answers.

    Args:
        base_model: the ``base_model`` artifact.
        adapter: folder of what was trained.
        contexts: token ids, one a response.
        responses: token ids, end-of-turn token included.
        compute: where and how.
        scratch: folder for the files of jobs.

    Returns:
        A row for each response, in order: ``tokens``; ``kl``, KL(policy || base), ``policy_logp`` and ``reference_logp``, each summed
        over the tokens, in nats.
    """
    import pandas as pd

    rows: dict[int, tuple[float, float, float]] = {}

    def keep(event: Event) -> None:
        if event["event"] == "divergences":
            sums = zip(event["kl"], event["policy"], event["reference"], strict=True)
            rows.update(zip(event["responses"], sums, strict=True))
        else:
            publish(event)

    job = DivergeJob(base_model["path"], compute, str(adapter))
    run_job(job, scratch, ragged={"contexts": contexts, "responses": responses}, on_event=keep)
    columns = ["kl", "policy_logp", "reference_logp"]
    table = pd.DataFrame([rows[number] for number in range(len(responses))], columns=columns)
    return table.assign(tokens=[len(ids) for ids in responses])[["tokens", *columns]]


def generate_responses(
    base_model: dict[str, Any],
    adapter: Path | None,
    prompts: "pd.DataFrame",
    *,
    models: Sequence[str] = ("base", "adapter"),
    max_new_tokens: int,
    batch_size: int,
    compute: Compute,
    scratch: Path,
) -> "pd.DataFrame":
    """Return the ``generations`` table: greedy answers of base model, adapter or both to every row of ``prompts``.

    Args:
        base_model: the ``base_model`` artifact.
        adapter: folder of what was trained; may be None where it is not to answer.
        prompts: rows of ``evaluation_prompts``.
        models: who answers: ``base``, ``adapter`` or both.
        max_new_tokens: an answer is cut there.
        batch_size: most answers in the making.
        compute: where and how.
        scratch: folder for the files of jobs; answers of a run that was cut off are taken from there.

    Raises:
        ValueError: ``models`` names nobody or somebody else, or the adapter, and there is none.
    """
    from bdpo_pipeline.models.encoding import encode_prompts
    from bdpo_pipeline.models.loading import load_tokenizer

    tokenizer = load_tokenizer(base_model["path"])
    contexts = encode_prompts(tokenizer, [[{"role": "user", "content": text}] for text in prompts["prompt"]])
    parts: list[pd.DataFrame] = []

    def keep(event: Event) -> None:
        if event["event"] == "generations":
            answers = {name: event[name] for name in ("response", "response_tokens", "finished")}
            parts.append(
                prompts.take(event["prompts"]).assign(model=event["model"], answered_by="worker", **answers)
            )
        else:
            publish(event)

    # Without a part in the answers, it has none in what job this is.
    trained = str(adapter) if adapter is not None and "adapter" in models else None
    job = GenerateJob(base_model["path"], compute, trained, list(models), max_new_tokens, batch_size)
    run_job(job, scratch, ragged={"contexts": contexts}, on_event=keep)
    return _generations(parts, prompts)


def request_responses(
    base_model: dict[str, Any],
    prompts: "pd.DataFrame",
    *,
    models: Sequence[str] = ("base", "adapter"),
    endpoint: EndpointParameters,
    max_new_tokens: int,
    scratch: Path,
) -> "pd.DataFrame":
    """Return the ``generations`` table of :func:`generate_responses`, answered by a server that has both models.

    A prompt that the server refuses is answered by an empty text of no tokens; see :func:`~bdpo_pipeline.endpoints.answer_prompts`.
    """
    from bdpo_pipeline.models.encoding import render_prompt
    from bdpo_pipeline.models.loading import load_tokenizer

    tokenizer = load_tokenizer(base_model["path"])
    texts = [render_prompt(tokenizer, [{"role": "user", "content": text}]) for text in prompts["prompt"]]
    parts: list[pd.DataFrame] = []
    names = {"base": endpoint.base, "adapter": endpoint.adapter}
    for model in models:
        name = names[model]
        special = _adds_special_tokens(tokenizer)
        answers = answer_prompts(endpoint, name, texts, max_new_tokens, scratch, adds_special_tokens=special)
        part = prompts.assign(model=model, answered_by=f"{name} at {endpoint.url}")
        part["response"] = [answer.text for answer in answers]
        part["response_tokens"] = [answer.tokens for answer in answers]
        parts.append(part.assign(finished=[answer.finished for answer in answers]))
    return _generations(parts, prompts)


def _adds_special_tokens(tokenizer: Any) -> bool:
    """Return whether a server that tokenises in the tokenizer's usual way would write a second mark of the text's beginning."""
    return bool(tokenizer("a").input_ids != tokenizer("a", add_special_tokens=False).input_ids)


def _generations(parts: "list[pd.DataFrame]", prompts: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    given = ["prompt_id", "prompt_set", "prompt", "goal", "category", "desired"]
    made = ["model", "response", "response_tokens", "finished", "answered_by"]
    table = pd.concat(parts) if parts else prompts.assign(**{name: [] for name in made})
    table = table[[*given, *made]]
    return table.sort_values(["prompt_id", "model"], ascending=[True, False], ignore_index=True)


def _ragged(pairs: "pd.DataFrame") -> dict[str, list[Any]]:
    both = zip(pairs["chosen_ids"], pairs["rejected_ids"], strict=True)
    return {"contexts": list(pairs["prompt_ids"]), "responses": [ids for pair in both for ids in pair]}

"""The training task: preference optimisation of an adapter or of all weights, one loop from top to bottom."""

import math
import time
from dataclasses import asdict, replace
from typing import Any

import torch
from transformers import get_scheduler

from bdpo_pipeline.engine.budget import choose_places
from bdpo_pipeline.engine.checkpoint import (
    TrainingState,
    carry_over,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from bdpo_pipeline.engine.comprehension import Comprehension
from bdpo_pipeline.engine.context import StoppedError, WorkerContext
from bdpo_pipeline.engine.jobs import TrainJob
from bdpo_pipeline.engine.logps import ResponseScorer, base_model, check_supported, decoder_and_head
from bdpo_pipeline.engine.lora import fuse_lora
from bdpo_pipeline.engine.measure import Measure
from bdpo_pipeline.engine.pair_data import load_pairs
from bdpo_pipeline.engine.sharding import shard
from bdpo_pipeline.engine.trained import save_trained
from bdpo_pipeline.engine.vocabulary import check_ids
from bdpo_pipeline.engine.weights import TrainedWeights
from bdpo_pipeline.models.adapters import add_lora
from bdpo_pipeline.models.loading import load_model
from bdpo_pipeline.objectives import Need, bind_objective


class DivergedError(RuntimeError):
    """The loss is no longer a number."""


def train(job: TrainJob, context: WorkerContext) -> dict[str, Any]:
    """Train, going on from the job's newest checkpoint if there is one; what was trained is saved as ``adapter/``.

    Raises:
        StoppedError: the caller asked to stop, and there is a checkpoint of the last step.
    """
    checkpoint = find_checkpoint(context)
    if checkpoint is not None:
        carry_over(checkpoint, context, job.compute.threads)
    data = load_pairs(context)
    objective = bind_objective(job.objective, job.options)
    if Need.SENSITIVITY in objective.needs:
        _check_differentiated_twice(job)
    training, validation = data.training, data.validation
    policy = _load_policy(job)
    if Need.SENSITIVITY not in objective.needs:
        fuse_lora(policy)  # its gradient cannot be differentiated again
    if job.compute.activation_checkpointing:
        base_model(policy).activation_checkpointing_enable()
    in_step = job.compute.sharding is not None
    if not in_step:
        policy.to(context.device)
    check_ids(policy, (ids for row in data.rows for ids in (row.context, *row.responses)))
    check_supported(policy, torch.device("cpu") if in_step else context.device, data.rows)
    scorer, held = ResponseScorer(policy), 1.0
    followed = Comprehension.from_dict(job.comprehension) if job.comprehension else None
    acted_upon = followed if followed and followed.online else None
    measure_step = Measure(scorer, data, objective, acted_upon, 1, context, in_step)
    chosen = checkpoint.layout if checkpoint is not None else None
    tokens = choose_places(
        job.compute, context, policy, data.rows, measure_step.observe, learning=True, chosen=chosen
    )
    measure_step = replace(measure_step, tokens_per_batch=tokens)
    measure_validation = replace(measure_step, comprehension=followed)
    if in_step:
        held = shard(scorer, decoder_and_head(policy)[0], context, getattr(torch, job.compute.dtype))
    weights = TrainedWeights(policy)
    steps_per_epoch = math.ceil(len(training) / job.pairs_per_step)
    steps = steps_per_epoch * job.epochs
    spec = job.optimiser
    optimiser = torch.optim.AdamW(
        weights.parameters,
        lr=spec.learning_rate,
        weight_decay=spec.weight_decay,
        eps=spec.epsilon,
        # On a GPU torch's usual way takes a copy of a moment of all weights; on a CPU this one changes the last digits for nothing.
        fused=context.device.type == "cuda",
    )

    state = TrainingState(0, [], 0, None, None, 0, {})
    if checkpoint is not None:
        state = load_checkpoint(checkpoint, context, weights, optimiser)
    schedule = get_scheduler(spec.schedule, optimiser, math.ceil(spec.warmup_share * steps), steps)
    for _ in range(state.step):
        schedule.step()
    resumed_from, trained = state.step, 0
    start, start_cpu = time.monotonic(), time.process_time()
    stopped_early = _out_of_patience(state, job.early_stopping_patience)
    diverged_at = None

    with context.progress("train", steps - state.step) as advance:
        while state.step < steps and not stopped_early:
            epoch, place = divmod(state.step, steps_per_epoch)
            order = shuffle(training, job.seeds["order"] + epoch)
            pairs = order[place * job.pairs_per_step : (place + 1) * job.pairs_per_step]

            # Dropout is seeded by step and process, so a resumed run needs no random state to go on alike.
            torch.manual_seed(
                job.seeds["dropout"] + state.step * job.compute.processes + context.accelerator.process_index
            )
            policy.train()
            weights.clear_gradients()
            values = measure_step(pairs)
            weights.sum_gradients(context)
            grad_norm = weights.clip_gradients(spec.max_grad_norm)
            if not math.isfinite(values["loss"]) or not math.isfinite(grad_norm):
                # At the first step nothing was trained yet: then it is not training that diverged.
                if job.ends_where_it_diverges and state.step > 0:
                    diverged_at = state.step
                    break
                raise DivergedError(
                    f"step {state.step}: loss {values['loss']}, gradient norm {grad_norm}. "
                    "Lower training.optimiser.learning_rate or objective.options.beta"
                )
            learning_rate = schedule.get_last_lr()[0]
            optimiser.step()
            weights.publish()
            schedule.step()

            state.tokens += sum(data.rows[i].tokens for i in pairs)
            values |= {
                "grad_norm": grad_norm,
                "learning_rate": learning_rate,
                "num_tokens": state.tokens,
            }
            _record(state, context, "train", state.step / steps_per_epoch, values)
            state.step += 1
            trained += len(pairs)
            advance(1)

            if validation and (state.step % job.evaluate_every == 0 or state.step == steps):
                policy.eval()
                with torch.no_grad():
                    values = measure_validation(validation)
                _record(state, context, "validation", state.step / steps_per_epoch, values)
                if job.early_stopping_patience is not None:
                    _remember_best(state, values["loss"], weights)
                stopped_early = _out_of_patience(state, job.early_stopping_patience)
            is_over = state.step == steps or stopped_early
            stops = not is_over and context.stops()
            if stops and context.accelerator.is_main_process:
                context.emit({"event": "stopping", "step": state.step})
            if state.step % job.checkpoint_every == 0 or stopped_early or stops:
                save_checkpoint(context, state, weights, optimiser)
            if stops:
                raise StoppedError(f"after {state.step} steps")

    if state.best_step is not None:
        weights.restore(state.best_weights)
    seconds, cpu_seconds = time.monotonic() - start, time.process_time() - start_cpu
    save_trained(policy, job, context)
    return {
        "history": state.history,
        "beta": objective.beta,
        "reward": objective.reward,
        "steps": state.step,
        "epochs": state.step / steps_per_epoch,
        "stopped_early": stopped_early,
        "diverged_at_step": diverged_at,
        "best_step": state.step if state.best_step is None else state.best_step,
        "step_0_loss": state.history[0]["loss"],
        "trainable_parameters": sum(p.numel() for p in weights.parameters),
        "weights_held": held,
        "attention": base_model(policy).config._attn_implementation,
        "training_pairs": len(training),
        "validation_pairs": len(validation),
        "resumed_from_step": resumed_from,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "pairs_per_second": trained / seconds if seconds else None,
    }


def _load_policy(job: TrainJob) -> torch.nn.Module:
    """Return the base model with a fresh adapter, or with all its weights to be trained."""
    model = load_model(job.model, **job.compute.weights)
    if job.lora is None:
        return model.requires_grad_(True)
    return add_lora(model, **asdict(job.lora), seed=job.seeds["adapter"])


def _check_differentiated_twice(job: TrainJob) -> None:
    asked = {
        "sharding to null": job.compute.sharding is not None,
        "activation_checkpointing to false": job.compute.activation_checkpointing,
    }
    for remedy in (remedy for remedy, is_asked in asked.items() if is_asked):
        raise ValueError(
            f"the objective {job.objective} differentiates twice, which this does not allow: set compute.{remedy}"
        )


def shuffle(pairs: list[int], seed: int) -> list[int]:
    """Return the pairs in the order of an epoch."""
    generator = torch.Generator().manual_seed(seed)
    return [pairs[i] for i in torch.randperm(len(pairs), generator=generator).tolist()]


def _record(
    state: TrainingState, context: WorkerContext, split: str, epoch: float, values: dict[str, float]
) -> None:
    state.history.append({"step": state.step, "epoch": round(epoch, 4), "split": split, **values})
    if context.accelerator.is_main_process:
        context.emit({"event": "metrics", "split": split, "step": state.step, "values": values})


def _remember_best(state: TrainingState, loss: float, weights: TrainedWeights) -> None:
    """Keep the weights of the lowest validation loss; a loss that is no number is never the lowest."""
    if loss < (math.inf if state.best_loss is None else state.best_loss):
        state.best_loss, state.best_step, state.waited = loss, state.step, 0
        state.best_weights = weights.snapshot()
    else:
        state.waited += 1


def _out_of_patience(state: TrainingState, patience: int | None) -> bool:
    return patience is not None and state.waited >= patience

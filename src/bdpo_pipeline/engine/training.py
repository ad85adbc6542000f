"""The training task: preference optimisation of a LoRA adapter, one loop from top to bottom."""

import math
import time
from typing import Any

import torch
from transformers import get_scheduler

from bdpo_pipeline.engine.checkpoint import (
    TrainingState,
    load_checkpoint,
    restore_weights,
    save_checkpoint,
    trainable_weights,
)
from bdpo_pipeline.engine.comprehension import Comprehension
from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.jobs import TrainJob
from bdpo_pipeline.engine.logps import check_supported
from bdpo_pipeline.engine.lora import fuse_lora
from bdpo_pipeline.engine.measure import Measure
from bdpo_pipeline.engine.pair_data import load_pairs
from bdpo_pipeline.models.adapters import add_lora
from bdpo_pipeline.models.loading import load_model
from bdpo_pipeline.objectives import Need, bind_objective


class DivergedError(RuntimeError):
    """The loss is no longer a number."""


def train(job: TrainJob, context: WorkerContext) -> dict[str, Any]:
    """Train the adapter, going on from the job's newest checkpoint if there is one; rank 0 saves it as ``adapter/``."""
    data = load_pairs(context)
    objective = bind_objective(job.objective, job.options)
    training, validation = data.training, data.validation
    policy = add_lora(
        load_model(job.model, **job.compute.weights),
        r=job.lora.r,
        alpha=job.lora.alpha,
        dropout=job.lora.dropout,
        target_modules=job.lora.target_modules,
        seed=job.seeds["adapter"],
    ).to(context.device)
    if Need.SENSITIVITY not in objective.needs:
        fuse_lora(policy)  # its gradient cannot be differentiated again
    check_supported(policy, context.device, data.rows)
    trainable = [p for p in policy.parameters() if p.requires_grad]
    steps_per_epoch = math.ceil(len(training) / job.pairs_per_step)
    steps = steps_per_epoch * job.epochs
    spec = job.optimiser
    optimiser = torch.optim.AdamW(trainable, lr=spec.learning_rate, weight_decay=spec.weight_decay)
    followed = Comprehension.from_dict(job.comprehension) if job.comprehension else None
    acted_upon = followed if followed and followed.online else None
    tokens = job.compute.tokens_per_batch
    measure_step = Measure(policy, data, objective, acted_upon, tokens, context)
    measure_validation = Measure(policy, data, objective, followed, tokens, context)

    state = load_checkpoint(context.folder, policy, optimiser) or TrainingState(0, [], 0, None, 0, 0, {})
    schedule = get_scheduler(spec.schedule, optimiser, math.ceil(spec.warmup_share * steps), steps)
    for _ in range(state.step):
        schedule.step()
    resumed_from, trained = state.step, 0
    start, start_cpu = time.monotonic(), time.process_time()
    stopped_early = _out_of_patience(state, job.early_stopping_patience)

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
            optimiser.zero_grad()
            values = measure_step(pairs)
            _sum_gradients(trainable, context)
            grad_norm = torch.nn.utils.clip_grad_norm_(trainable, spec.max_grad_norm)
            if not math.isfinite(values["loss"]) or not torch.isfinite(grad_norm):
                raise DivergedError(
                    f"step {state.step}: loss {values['loss']}, gradient norm {float(grad_norm)}. "
                    "Lower training.optimiser.learning_rate or objective.options.beta"
                )
            learning_rate = schedule.get_last_lr()[0]
            optimiser.step()
            schedule.step()

            state.tokens += sum(data.rows[i].tokens for i in pairs)
            values |= {
                "grad_norm": float(grad_norm),
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
                    _remember_best(state, values["loss"], policy)
                stopped_early = _out_of_patience(state, job.early_stopping_patience)
            if context.accelerator.is_main_process and (
                state.step % job.checkpoint_every == 0 or stopped_early
            ):
                save_checkpoint(context.folder, state, policy, optimiser)

    if state.best_weights:
        restore_weights(policy, state.best_weights)
    seconds, cpu_seconds = time.monotonic() - start, time.process_time() - start_cpu
    if context.accelerator.is_main_process:
        policy.save_pretrained(context.folder / "adapter")  # type: ignore[operator]
    return {
        "history": state.history,
        "beta": objective.beta,
        "reward": objective.reward,
        "steps": state.step,
        "epochs": state.step / steps_per_epoch,
        "stopped_early": stopped_early,
        "best_step": state.best_step if state.best_weights else state.step,
        "step_0_loss": state.history[0]["loss"],
        "trainable_parameters": sum(p.numel() for p in trainable),
        "training_pairs": len(training),
        "validation_pairs": len(validation),
        "resumed_from_step": resumed_from,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "pairs_per_second": trained / seconds if seconds else None,
    }


def _sum_gradients(trainable: list[torch.nn.Parameter], context: WorkerContext) -> None:
    """Add up the gradients of all processes, as one buffer; a process that had no pair in this step adds zeros."""
    if context.accelerator.num_processes == 1:
        return
    flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in trainable])
    flat = context.accelerator.reduce(flat, "sum")
    for parameter, part in zip(trainable, flat.split([p.numel() for p in trainable]), strict=True):
        parameter.grad = part.view_as(parameter)


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


def _remember_best(state: TrainingState, loss: float, policy: torch.nn.Module) -> None:
    """Keep the weights of the lowest validation loss."""
    if state.best_loss is None or loss < state.best_loss:
        state.best_loss, state.best_step, state.waited = loss, state.step, 0
        state.best_weights = trainable_weights(policy)
    else:
        state.waited += 1


def _out_of_patience(state: TrainingState, patience: int | None) -> bool:
    return patience is not None and state.waited >= patience

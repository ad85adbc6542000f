"""What training leaves: a PEFT adapter, or a model folder with all weights."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from bdpo_pipeline.durable import whole_folder
from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.jobs import TrainJob
from bdpo_pipeline.engine.sharding import gather
from bdpo_pipeline.models.loading import load_model, load_tokenizer


def save_trained(policy: nn.Module, job: TrainJob, context: WorkerContext) -> None:
    """Save what was trained as ``adapter/`` in the job's folder; all processes call, the main one writes.

    An adapter is saved by itself. Where all weights were trained, it is a folder that loads like any model, with its tokenizer.
    """
    target = context.folder / "adapter"
    trained: Any = policy
    if job.lora is not None:
        if context.accelerator.is_main_process:
            for config in trained.peft_config.values():
                # A set of names is written in an order that changes with every process.
                if isinstance(config.target_modules, set):
                    config.target_modules = sorted(config.target_modules)
            with whole_folder(target, _bytes(p for p in policy.parameters() if p.requires_grad)) as folder:
                trained.save_pretrained(folder)
        return
    if job.compute.sharding is not None:
        wholes = {name: whole for name, p in policy.state_dict().items() if (whole := gather(p)) is not None}
        if context.accelerator.is_main_process:
            # The shards are fp32 masters; a model of the base's kind brings them into the type that they compute in.
            trained = load_model(job.model, dtype=job.compute.dtype)
            trained.load_state_dict(wholes)
    if context.accelerator.is_main_process:
        # Off for training only.
        trained.config.use_cache = True
        with whole_folder(target, _bytes(trained.parameters())) as folder:
            trained.save_pretrained(folder)
            load_tokenizer(job.model).save_pretrained(folder)


def _bytes(parameters: Iterable[nn.Parameter]) -> int:
    return sum(p.numel() * p.element_size() for p in parameters)

"""What training leaves: a PEFT adapter, or a model folder with all weights."""

from typing import Any

import torch
from torch import nn

from bdpo_pipeline.engine.context import WorkerContext
from bdpo_pipeline.engine.jobs import TrainJob
from bdpo_pipeline.engine.sharding import gather
from bdpo_pipeline.models.loading import load_tokenizer


def save_trained(policy: nn.Module, job: TrainJob, context: WorkerContext) -> None:
    """Save what was trained as ``adapter/`` in the job's folder; all processes call, the main one writes.

    An adapter is saved by itself. Where all weights were trained, it is a folder that loads like any model, with its tokenizer.
    """
    target = context.folder / "adapter"
    trained: Any = policy
    if job.lora is not None:
        if context.accelerator.is_main_process:
            trained.save_pretrained(target)
        return
    state = None
    if job.compute.sharding is not None:
        # Its fp32 masters have done their work.
        policy.to(getattr(torch, job.compute.dtype))
        state = {name: whole for name, p in policy.state_dict().items() if (whole := gather(p)) is not None}
    if context.accelerator.is_main_process:
        trained.save_pretrained(target, state_dict=state)
        load_tokenizer(job.model).save_pretrained(target)

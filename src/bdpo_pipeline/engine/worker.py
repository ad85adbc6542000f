"""A worker process: reads a job, does it, reports by events, writes a result. Started by the launcher, never by hand.

It imports torch, transformers, peft and accelerate, and runs on a machine that has only those.
"""

import json
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from bdpo_pipeline.engine.job_folder import read_job, read_order, write_result
from bdpo_pipeline.engine.jobs import AttackJob, DivergeJob, GenerateJob, Job, RateJob, ScoreJob, TrainJob
from bdpo_pipeline.engine.made_by import made_by
from bdpo_pipeline.engine.supervised import die_with_parent

if TYPE_CHECKING:
    from bdpo_pipeline.engine.context import WorkerContext


class OtherCodeError(RuntimeError):
    """This process runs another engine, or on other packages, than its caller."""


def main(folder: Path) -> None:
    """Do the job in ``folder``; rank 0 leaves ``result.json`` there, every rank an ``events-<rank>.jsonl``."""
    # First of all, as importing torch takes seconds in which the parent may die.
    die_with_parent()
    from bdpo_pipeline.engine.context import EventWriter, StoppedError, WorkerContext, start_accelerator

    events = EventWriter(folder / f"events-{os.environ.get('RANK', '0')}.jsonl")
    try:
        _check_made_by(folder)
        leave_out_unused(read_job(folder))
        accelerator = start_accelerator(read_job(folder).compute)
        context = WorkerContext(folder, accelerator, events.emit, events.keep)
        try:
            result = _run(folder, context)
        except StoppedError:
            result = None
        # A process that is done first must not be taken for one that waits in vain for the others.
        context.accelerator.wait_for_everyone()
        if context.accelerator.is_main_process and result is not None:
            write_result(folder, {**context.describe(), **result})
        # Nothing is lost on the way where this has arrived.
        events.emit({"event": "end"})
    except BaseException as error:
        events.emit(
            {
                "event": "error",
                "error": f"{type(error).__name__}: {error}",
                "traceback": traceback.format_exc(),
            }
        )
        raise
    context.accelerator.end_training()


def leave_out_unused(job: Job) -> None:
    """Spare a job without quantised weights the import of bitsandbytes, which PEFT imports wherever it is installed, in 1.5 s."""
    config = json.loads((Path(job.model) / "config.json").read_text(encoding="utf-8"))
    if job.compute.quantisation is None and "quantization_config" not in config:
        # What an import finds here, it takes for a package that is not there.
        sys.modules.setdefault("bitsandbytes", cast(ModuleType, None))


def _run(folder: Path, context: "WorkerContext") -> dict[str, Any]:
    job = read_job(folder)
    if isinstance(job, ScoreJob):
        from bdpo_pipeline.engine.scoring import score

        return score(job, context)
    if isinstance(job, GenerateJob):
        from bdpo_pipeline.engine.generation import generate

        return generate(job, context)
    if isinstance(job, DivergeJob):
        from bdpo_pipeline.engine.divergence import diverge

        return diverge(job, context)
    if isinstance(job, RateJob):
        from bdpo_pipeline.engine.rating import rate

        return rate(job, context)
    if isinstance(job, AttackJob):
        from bdpo_pipeline.engine.attack import attack

        return attack(job, context)
    from bdpo_pipeline.engine.training import train

    assert isinstance(job, TrainJob)  # noqa: S101 - narrows the union for the type checker
    return train(job, context)


def _check_made_by(folder: Path) -> None:
    wanted, here = read_order(folder)["made_by"], made_by()
    if wanted != here:
        differing = ", ".join(
            f"{name} {here[name]} here and {wanted[name]} there"
            for name in here
            if wanted[name] != here[name]
        )
        raise OtherCodeError(
            f"a worker process and its caller do not run the same: {differing}. Install the same on all machines; if the code was "
            "edited just now, run again"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    # Everything is on disk. Tearing down the interpreter would only give native threads that still live a chance to abort a job that
    # is done, as happened now and then with two processes.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)

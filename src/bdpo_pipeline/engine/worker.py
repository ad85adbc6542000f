"""A worker process: reads a job, does it, reports by events, writes a result. Started by the launcher, never by hand.

It imports torch, transformers, peft and accelerate, and runs on a machine that has only those.
"""

import json
import os
import sys
import traceback
from pathlib import Path

from bdpo_pipeline.engine.context import EventWriter, WorkerContext, start_accelerator
from bdpo_pipeline.engine.jobs import GenerateJob, Job, ScoreJob, TrainJob, job_from_dict
from bdpo_pipeline.engine.supervised import die_with_parent


def main(folder: Path) -> None:
    """Do the job in ``folder``; rank 0 leaves ``result.json`` there, every rank an ``events-<rank>.jsonl``."""
    die_with_parent()
    events = EventWriter(folder / f"events-{os.environ.get('RANK', '0')}.jsonl")
    try:
        job = job_from_dict(json.loads((folder / "job.json").read_text()))
        context = WorkerContext(folder, start_accelerator(job.compute), events.emit)
        result = _run(job, context)
        # A process that is done first must not be taken for one that waits in vain for the others.
        context.accelerator.wait_for_everyone()
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
    if context.accelerator.is_main_process:
        _write_result(folder, {**context.describe(), **result})
    context.accelerator.end_training()


def _run(job: Job, context: WorkerContext) -> dict[str, object]:
    if isinstance(job, ScoreJob):
        from bdpo_pipeline.engine.scoring import score

        return score(job, context)
    if isinstance(job, GenerateJob):
        from bdpo_pipeline.engine.generation import generate

        return generate(job, context)
    from bdpo_pipeline.engine.training import train

    assert isinstance(job, TrainJob)  # noqa: S101 - narrows the union for the type checker
    return train(job, context)


def _write_result(folder: Path, result: dict[str, object]) -> None:
    partial = folder / "result.json.partial"
    partial.write_text(json.dumps(result))
    partial.replace(folder / "result.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    # Everything is on disk. Tearing down the interpreter would only give native threads that still live a chance to abort a job that
    # is done, as happened now and then with two processes.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)

"""One contestant: the engine's scoring job, through its own launcher.

    python run_ours.py WORKLOAD MODEL OUT --pass marginal --dtype float32

The launcher reports wall seconds of the passes alone. CPU seconds are those of the worker process less those of a worker that scores a
single response, so that neither counts its start.
"""

import json
import resource
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from passes import parse_arguments, read_items
from shared import count_flops, count_places, shapes_of

from bdpo_pipeline.engine.events import Event
from bdpo_pipeline.engine.jobs import Compute, ScoreJob
from bdpo_pipeline.engine.launcher import run_job
from bdpo_pipeline.engine.layout import Row, build_batch, plan_batches
from bdpo_pipeline.engine.scoring import _group_by_context

Items = list[tuple[list[int], list[int]]]


def main() -> None:
    options = parse_arguments(__doc__)
    items = read_items(options)
    compute = Compute(
        device=options.device,
        dtype=options.dtype,
        threads=options.threads,
        tokens_per_batch=options.tokens_per_batch,
    )
    job = ScoreJob(options.model, compute)
    start_up = _score(job, items[:1])
    found = _score(job, items)
    contexts, response_context = _contexts(items)
    ids = {"contexts": contexts, "responses": [response for _, response in items]}
    groups = _group_by_context(response_context, ids, found["tokens_per_batch"])
    rows = [Row(contexts[number], [ids["responses"][i] for i in group]) for number, group in groups]
    plan = plan_batches(rows, found["tokens_per_batch"])
    places = count_places(build_batch([rows[i] for i in numbers]) for numbers in plan)
    found |= {
        "cpu_seconds": found["cpu_seconds"] - start_up["cpu_seconds"],
        "at_once": f"at most {found['tokens_per_batch']} places",
        "places": places.computed,
        "places_apart": sum(len(context) + len(response) - 1 for context, response in items),
        "needed_flops": count_flops(shapes_of(options.model, None, trained=False), places),
    }
    options.out.write_text(json.dumps(found))


def _score(job: ScoreJob, items: Items) -> dict[str, Any]:
    """Return the log-probs of the items and what the job took."""
    logps, seconds = np.full(len(items), np.nan), 0.0

    def keep(event: Event) -> None:
        nonlocal seconds
        if event["event"] == "scores":
            logps[event["responses"]] = event["logps"]
        elif event["event"] == "progress":
            seconds = event["seconds"]

    contexts, response_context = _contexts(items)
    before = _children_cpu_seconds()
    with tempfile.TemporaryDirectory() as scratch:
        result, _ = run_job(
            job,
            Path(scratch),
            ragged={"contexts": contexts, "responses": [response for _, response in items]},
            flat={"response_context": np.array(response_context, np.int64)},
            on_event=keep,
        )
    return {
        "seconds": seconds,
        "cpu_seconds": _children_cpu_seconds() - before,
        "peak_memory_bytes": result["peak_memory_bytes"],
        "tokens_per_batch": result["tokens_per_batch"],
        "device_name": result["device"],
        "logps": logps.tolist(),
    }


def _contexts(items: Items) -> tuple[list[list[int]], list[int]]:
    """Return the different contexts, and for each item which of them is its own."""
    numbers: dict[tuple[int, ...], int] = {}
    response_context = [numbers.setdefault(tuple(context), len(numbers)) for context, _ in items]
    return [list(context) for context in numbers], response_context


def _children_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()

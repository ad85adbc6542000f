"""One contestant: the engine's scoring job, through its own launcher.

    python run_ours.py WORKLOAD MODEL OUT --pass marginal --dtype float32

Seconds are those that the worker reports of its passes alone.
"""

import json
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
from bdpo_pipeline.engine.scoring import group_by_context

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
    found = _score(job, items)
    contexts, response_context = _contexts(items)
    ids = {"contexts": contexts, "responses": [response for _, response in items]}
    groups = group_by_context(response_context, ids, found["tokens_per_batch"])
    rows = [Row(contexts[number], [ids["responses"][i] for i in group]) for number, group in groups]
    plan = plan_batches(rows, found["tokens_per_batch"])
    places = count_places(build_batch([rows[i] for i in numbers]) for numbers in plan)
    found |= {
        "at_once": f"at most {found['tokens_per_batch']} places",
        "places": places.computed,
        "places_apart": sum(len(context) + len(response) - 1 for context, response in items),
        "needed_flops": count_flops(shapes_of(options.model, None, trained=False), places),
    }
    options.out.write_text(json.dumps(found))


def _score(job: ScoreJob, items: Items) -> dict[str, Any]:
    """Return the log-probs of the items and what the job took."""
    logps = np.full(len(items), np.nan)

    def keep(event: Event) -> None:
        if event["event"] == "scores":
            logps[event["responses"]] = event["logps"]

    contexts, response_context = _contexts(items)
    with tempfile.TemporaryDirectory() as scratch:
        result, _ = run_job(
            job,
            Path(scratch),
            ragged={"contexts": contexts, "responses": [response for _, response in items]},
            flat={"response_context": np.array(response_context, np.int64)},
            on_event=keep,
        )
    return {
        "seconds": result["seconds"],
        "cpu_seconds": result["cpu_seconds"],
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


if __name__ == "__main__":
    main()

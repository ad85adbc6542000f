"""One contestant: this project's engine on a workload, through its own launcher.

python run_ours.py WORKLOAD MODEL OUT --steps 16 --dtype float32
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from arguments import installed_versions, parse_arguments
from flops import count_flops, count_places, shapes_of
from workload import LORA, SEEDS, read_rows

from bdpo_pipeline.engine.jobs import Compute, OptimiserSpec, TrainJob
from bdpo_pipeline.engine.launcher import run_job
from bdpo_pipeline.engine.layout import Row, build_batch, plan_batches
from bdpo_pipeline.engine.training import shuffle


def main() -> None:
    options = parse_arguments(__doc__)
    rows = read_rows(options.workload)
    job = TrainJob(
        model=options.model,
        compute=Compute(
            device=options.device,
            dtype=options.dtype,
            threads=options.threads,
            tokens_per_batch=options.tokens_per_batch,
        ),
        objective="dpo",
        options={"beta": 0.1},
        lora=None if options.full else LORA,
        optimiser=OptimiserSpec(options.learning_rate, 0.0, 0.0, "constant_with_warmup", 1.0),
        epochs=1,
        pairs_per_step=options.pairs_per_step,
        evaluate_every=10**9,
        early_stopping_patience=None,
        checkpoint_every=10**9,
        seeds=SEEDS,
    )
    with tempfile.TemporaryDirectory() as scratch:
        result, _ = run_job(
            job,
            Path(scratch),
            ragged={
                "contexts": [row["prompt_ids"] for row in rows],
                "responses": [ids for row in rows for ids in (row["chosen_ids"], row["rejected_ids"])],
            },
            flat={
                "is_training": np.ones(len(rows), bool),
                "reference_chosen": np.array([row["ref_chosen_logps"] for row in rows]),
                "reference_rejected": np.array([row["ref_rejected_logps"] for row in rows]),
            },
            on_event=lambda _: None,
        )
    found = {name: result[name] for name in ("seconds", "cpu_seconds", "peak_memory_bytes")}
    found |= {
        "device_name": result["device"],
        "versions": installed_versions(),
        "at_once": f"at most {result['tokens_per_batch']} places",
        "losses": [row["loss"] for row in result["history"] if row["split"] == "train"],
        "needed_flops": _needed_flops(job, rows, result["tokens_per_batch"]),
    }
    options.out.write_text(json.dumps(found))


def _needed_flops(job: TrainJob, rows: list[dict], tokens_per_batch: int) -> int:
    """Return the operations that the steps need, laid out as the engine does."""
    pairs = [Row(row["prompt_ids"], [row["chosen_ids"], row["rejected_ids"]]) for row in rows]
    order = shuffle(list(range(len(pairs))), job.seeds["order"])
    steps = [order[i : i + job.pairs_per_step] for i in range(0, len(order), job.pairs_per_step)]
    batches = (
        build_batch([pairs[step[i]] for i in numbers])
        for step in steps
        for numbers in plan_batches([pairs[i] for i in step], tokens_per_batch)
    )
    return count_flops(shapes_of(job.model, job.lora, trained=True), count_places(batches))


if __name__ == "__main__":
    main()

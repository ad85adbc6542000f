"""The other contestant: this project's engine on the same workload, through its own launcher.

python run_ours.py WORKLOAD MODEL OUT --steps 16 --dtype float32
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from arguments import parse_arguments
from workload import LORA, SEEDS

from bdpo_pipeline.engine.jobs import Compute, LoraSpec, OptimiserSpec, TrainJob
from bdpo_pipeline.engine.launcher import run_job


def main() -> None:
    options = parse_arguments(__doc__)
    rows = [json.loads(line) for line in (options.workload / "natural.jsonl").read_text().splitlines()]
    job = TrainJob(
        model=options.model,
        compute=Compute(
            device="cpu",
            dtype=options.dtype,
            threads=options.threads,
        ),
        objective="dpo",
        options={"beta": 0.1},
        lora=LoraSpec(**LORA),
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
    losses = [row["loss"] for row in result["history"] if row["split"] == "train"]
    pairs = options.steps * options.pairs_per_step
    options.out.write_text(json.dumps({"name": "ours", "pairs": pairs, **found, "losses": losses}))


if __name__ == "__main__":
    main()

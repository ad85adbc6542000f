"""The page of a comparison."""

import argparse
from pathlib import Path
from typing import Any

HEAD = """# Training speed and memory beside TRL

Made by `{command}`. {pairs} PKU-SafeRLHF pairs, {per_step} a step, DPO of a LoRA adapter
(r = 16 on all linear layers), same initial adapter and order, precomputed reference log-probs, no activation checkpointing,
{threads} threads. Start-up is not counted; peak memory is of the whole process.
"""
TABLE = """
## {case}

Matrix products reach {peak:.0f} GFLOP/s per CPU core here.

| | CPU s a pair | pairs per CPU s, ours = 1 | pairs per s | peak memory (GB) | ours = 1 | loss, first and last | largest difference |
|---|---|---|---|---|---|---|---|
"""


def write_page(path: Path, results: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Write the results, contestants of one case together and ours first."""
    trl = " ".join(options.trl)
    command = f"python benchmarks/training/compare.py --steps {options.steps} --cases {' '.join(options.cases)} --trl {trl}"
    text = HEAD.format(
        command=command,
        pairs=options.steps * options.pairs_per_step,
        per_step=options.pairs_per_step,
        threads=options.threads,
    )
    for case in options.cases:
        rows = [result for result in results if result["case"] == case]
        text += TABLE.format(case=case, peak=rows[0]["peak_flops"] / 1e9)
        text += "".join(_line(row, rows[0]) for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _line(row: dict[str, Any], ours: dict[str, Any]) -> str:
    cost, our_cost = row["cpu_seconds"] / row["pairs"], ours["cpu_seconds"] / ours["pairs"]
    memory, our_memory = row["peak_memory_bytes"] / 1e9, ours["peak_memory_bytes"] / 1e9
    difference = max(abs(a - b) for a, b in zip(row["losses"], ours["losses"], strict=True))
    return (
        f"| {row['name']} | {cost:.2f} | {our_cost / cost:.2f} | {row['pairs'] / row['seconds']:.2f} | {memory:.1f} | "
        f"{memory / our_memory:.2f} | {row['losses'][0]:.4f}, {row['losses'][-1]:.4f} | {difference:.1e} |\n"
    )

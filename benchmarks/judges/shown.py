"""The safety classifier on JailbreakBench's answers, shown the plain request and shown the jailbreak. Prints a table in Markdown.

kedro run --to-nodes train_judges
python benchmarks/judges/shown.py --data-root data
"""

import argparse
from pathlib import Path

import pandas as pd

from bdpo_pipeline.io.tensors import load_tensors
from bdpo_pipeline.judges.text_classifier import score

ANSWERS = Path(__file__).parents[2] / "data/01_raw/jailbreakbench-artifacts/gcg_pair_jbc.jsonl.gz"
SHOWN = {"goal": "the plain request", "prompt": "the jailbreak"}


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--data-root", type=Path, default=Path("data"))
    root = arguments.parse_args().data_root
    classifier = load_tensors(max(root.glob("06_models/safety_classifier/*/safety_classifier")))
    answers = pd.read_json(ANSWERS, lines=True).dropna(subset="response")
    print(
        "| answers to | shown | answers | not jailbroken | called safe | agreement |\n|---|---|---|---|---|---|"
    )
    for method, rows in answers.groupby("method"):
        for column, words in SHOWN.items():
            safe = score(classifier, list(rows[column]), list(rows["response"])) >= 0.5
            truth = ~rows["jailbroken"].to_numpy()
            counts = f"{len(rows)} | {truth.sum()} | {safe.sum()} | {(safe == truth).mean():.3f}"
            print(f"| {method} | {words} | {counts} |")


if __name__ == "__main__":
    main()

"""Writes docs/results/judges.md from the newest `judge_validation` of a run.

    kedro run --to-nodes plot_judges
    python benchmarks/judges/page.py --data-root data

The comparison of features comes from `benchmarks/judges/compare.py`, whose output is given with --compared; that of what the judge is
shown from `benchmarks/judges/shown.py`, with --shown.
"""

import argparse
from pathlib import Path

import pandas as pd

PAGE = Path(__file__).parents[2] / "docs" / "results" / "judges.md"
NUMBERS = {"accuracy": 3, "kappa": 3, "auc": 3, "brier": 3, "calibration_error": 3}
HEADER = {
    "judge": "judge",
    "label_set": "labels",
    "how": "how",
    "responses": "responses",
    "positives": "positive by label",
    "accuracy": "accuracy",
    "kappa": "kappa",
    "auc": "AUC",
    "true_positives": "true +",
    "false_positives": "false +",
    "true_negatives": "true \u2212",
    "false_negatives": "false \u2212",
    "brier": "Brier",
    "calibration_error": "calibration error",
    "partial": "partial refusals",
    "partial_positive": "of them called refusals",
    "without_verdict": "without a verdict",
}


def cell(row: dict, column: str) -> str:
    value = row[column]
    if value != value:
        return "\u2013"
    return f"{value:.{NUMBERS[column]}f}" if column in NUMBERS else str(value)


def table_in(printed: Path) -> list[str]:
    return [line for line in printed.read_text(encoding="utf-8").splitlines() if line.startswith("|")]


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--data-root", type=Path, default=Path("data"))
    arguments.add_argument("--compared", type=Path, help="what compare.py printed")
    arguments.add_argument("--shown", type=Path, help="what shown.py printed")
    given = arguments.parse_args()
    newest = max(given.data_root.glob("07_evaluation/judge_validation.csv/*/judge_validation.csv"))
    rows = pd.read_csv(newest).to_dict("records")
    lines = [
        "# Judges against labels",
        "",
        "Written by `benchmarks/judges/page.py` from the run that `docs/judges.md` names, which explains the sets of labels, and how",
        "each judge was kept from what it is measured on.",
        "",
        "| " + " | ".join(HEADER.values()) + " |",
        "|" + "---|" * len(HEADER),
        *("| " + " | ".join(cell(row, column) for column in HEADER) + " |" for row in rows),
    ]
    if given.shown:
        said = [
            "`python benchmarks/judges/shown.py`: the safety classifier on JailbreakBench's answers. In use is the plain request.",
        ]
        lines += ["", "## Request or jailbreak shown", "", *said, "", *table_in(given.shown)]
    if given.compared:
        said = [
            "`python benchmarks/judges/compare.py`, and with `--judge safety --safety-responses 1600`, where half as many are judged:",
            "embeddings of all take long. Seconds are a busy machine's; MiniLM's stand in the row where each text is new. Refusal is",
            "measured without the model's family and a third of the prompts, but for the last two of its rows.",
        ]
        lines += ["", "## Features that were compared", "", *said, "", *table_in(given.compared)]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

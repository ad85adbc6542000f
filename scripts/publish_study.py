"""Copies the newest study of a data folder to where it can be shown.

    kedro lineage show study_comparison --json > lineage.json
    python scripts/publish_study.py data lineage.json docs/results/my_study

Pages, tables of conclusions, the tables with a row for every item that they follow from (no prompt and no answer stands in any of
them), and the lineage record: without the folder of this project, and with each set of definitions, which nodes share, written once.
"""

import gzip
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

PAGES = ("study.html", "study.md")
CONCLUSIONS = ("comparison", "categories", "overfitting", "imbalance")
ITEMS = ("trials", "trainings", "judgements", "ability", "scores")


def main(data: Path, lineage: Path, folder: Path) -> None:
    """Copy all of it."""
    folder.mkdir(parents=True, exist_ok=True)
    reporting, evaluation = data / "08_reporting", data / "07_evaluation" / "study"
    for name in (*PAGES, *(f"study_{name}.csv" for name in CONCLUSIONS)):
        shutil.copy(newest(reporting / name), folder / name)
    for name in ITEMS:
        shutil.copy(newest(evaluation / f"{name}.parquet"), folder / f"study_{name}.parquet")
    text = json.dumps(written_once(json.loads(lineage.read_text(encoding="utf-8"))), ensure_ascii=False)
    text = text.replace(f"{Path.cwd()}/", "")
    (folder / "lineage.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def newest(path: Path) -> Path:
    """Return the file of an artifact's newest version."""
    return sorted(path.glob(f"*/{path.name}"))[-1]


def written_once(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the steps with the definitions of their nodes by a digest, and the definitions by it."""
    definitions: dict[str, Any] = {}
    for step in steps:
        made, record = step.get("made"), step.get("record")
        if record and record["made"] == made:
            del record["made"]
        if made:
            found = made["recipe"]["definitions"]
            digest = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]
            definitions[digest] = found
            made["recipe"]["definitions"] = digest
    return {"steps": steps, "definitions": definitions}


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))

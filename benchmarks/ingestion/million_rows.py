"""Ingestion and filtering of generated rows: peak memory, rows per second, and whether every row is accounted for.

    python benchmarks/ingestion/million_rows.py --rows 1000000

Runs `kedro run --pipelines ingestion,filtering` as a process of its own over a temporary data_root, with the tokenizer of the
embedded default model, and prints one JSON object. Exits 1 where a row is unaccounted for or a planted one is missed.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from generate import MALFORMED, write_rows

ROOT = Path(__file__).resolve().parents[2]
INGESTION = """
ingestion:
  max_quarantined_share: 0.02
  sources:
    - {{name: generated, path: {path}, format: auto, split: null, licence: CC-BY-NC-4.0}}
"""
# No ordinary row is longer; the tiny model's tokens are bytes.
LONGEST = {"local": 512, "test": 2_500}
FILTERING = """
filtering:
  length: {{max_prompt_tokens: {longest}, max_response_tokens: {longest}}}
  train: {{max_pairs: null, max_pairs_per_prompt: null, unsafe_query_share: null}}
  validation: {{max_pairs: null, max_pairs_per_prompt: null, unsafe_query_share: null}}
  heldout: {{max_pairs: null, max_pairs_per_prompt: null, unsafe_query_share: null}}
"""


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--env", default="local", help="local: the embedded model; test: a tiny one")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="million-rows-") as folder:
        result = measure(Path(folder), options.rows, options.env)
    print(json.dumps(result, indent=2))
    return 0 if all(result["checks"].values()) else 1


def measure(folder: Path, rows: int, env: str) -> dict[str, Any]:
    """Generate, run, and compare what came out with what was planted."""
    raw, data_root, conf = folder / "rows.jsonl", folder / "data", folder / "conf"
    planted = write_rows(raw, ROOT / "data" / "01_raw", rows)
    shutil.copytree(ROOT / "conf", conf)
    (conf / env / "parameters_ingestion.yml").write_text(INGESTION.format(path=raw))
    (conf / env / "parameters_filtering.yml").write_text(FILTERING.format(longest=LONGEST[env]))
    command = ["--conf-source", str(conf), "--env", env, "--params", f"data_root={data_root}"]
    _kedro("run", "--pipelines", "base_model", *command)
    log, usage = _kedro("run", "--pipelines", "ingestion,filtering", *command)
    seconds = _node_seconds(log)
    return {
        "rows": rows,
        "raw_bytes": raw.stat().st_size,
        "peak_rss_bytes": usage.ru_maxrss * 1024,
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "node_seconds": seconds,
        "ingestion_rows_per_second": round(rows / max(1, seconds["ingest_preferences"])),
        "filtering_rows_per_second": round(rows / max(1, seconds["select_pairs"])),
        "tokenising_share_of_cpu": _tokenising_share(data_root, rows, usage.ru_utime + usage.ru_stime),
        **_account(data_root, rows, planted),
    }


def _kedro(*arguments: str) -> tuple[str, Any]:
    """Run kedro; return its log and its resource usage. Raises where it fails."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "kedro", *arguments], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        text = log.read()
    if process.returncode != 0:
        raise RuntimeError(f"kedro {' '.join(arguments)} failed:\n{text[-4000:]}")
    return text, usage


def _node_seconds(log: str) -> dict[str, int]:
    """Read from the log's time stamps how long each node took, saving included."""
    started: dict[str, int] = {}
    taken: dict[str, int] = {}
    for line in log.splitlines():
        stamp = re.match(r"(\d\d):(\d\d):(\d\d) ", line)
        if stamp is None:
            continue
        hours, minutes, seconds = map(int, stamp.groups())
        now = 3600 * hours + 60 * minutes + seconds
        if running := re.search(r"Running node: (\w+)", line):
            started[running[1]] = now
        if completed := re.search(r"Completed node: (\w+)", line):
            taken[completed[1]] = (now - started[completed[1]]) % 86400
    return taken


def _tokenising_share(data_root: Path, rows: int, cpu_seconds: float) -> float:
    """Time the token counts of a sample of the pairs by themselves, scaled up, in CPU seconds of all threads."""
    import time

    from bdpo_pipeline.filters.lengths import count_tokens
    from bdpo_pipeline.models.loading import load_tokenizer

    base_model = json.loads(_only(data_root, "base_model.json").read_text())
    tokenizer = load_tokenizer(base_model["path"])
    sample, start = 0, time.process_time()
    for batch in _table(data_root, "02_intermediate/preference_pairs").batches(batch_size=1024):
        count_tokens(tokenizer, batch.to_pylist())
        sample += batch.num_rows
        if sample >= 20_000:
            break
    return round((time.process_time() - start) / sample * rows / cpu_seconds, 2)


def _account(data_root: Path, rows: int, planted: Counter[str]) -> dict[str, Any]:
    summary = json.loads(_only(data_root, "ingestion_summary.json").read_text())[0]
    dropped: Counter[str] = Counter()
    for batch in _table(data_root, "03_primary/dropped_pairs").batches(["stage"]):
        dropped.update(batch["stage"].to_pylist())
    used = {
        name: _table(data_root, f"03_primary/{name}_pairs").num_rows
        for name in ("training", "validation", "heldout")
    }
    accounted = summary["quarantined"] + summary["no_preference"] + dropped.total() + sum(used.values())
    return {
        "planted": dict(planted),
        "quarantined": summary["quarantined_reasons"],
        "no_preference": summary["no_preference"],
        "dropped": dict(dropped),
        "used": used,
        "checks": {
            "every row is accounted for": accounted == rows == summary["rows_read"],
            "quarantine holds what was planted": summary["quarantined_reasons"]
            == {reason: count for reason in MALFORMED if (count := planted[f"malformed: {reason}"])},
            "unsafe chosen found": dropped["unsafe_chosen"] == planted["unsafe_chosen"],
            "contamination found": dropped["contamination"] >= planted["contaminated"],
            "long rows found": dropped["length"] == planted["too_long"],
            "exact duplicates found": dropped["exact_duplicates"] >= 0.98 * planted["exact_duplicate"],
            "contradictions found": dropped["contradictions"] >= 0.98 * 2 * planted["contradiction"],
            "near duplicates found": dropped["near_duplicates"] >= 0.98 * planted["near_duplicate"],
        },
    }


def _only(data_root: Path, name: str) -> Path:
    return next(data_root.glob(f"*/{name}/*/{name}"))


def _table(data_root: Path, name: str) -> Any:
    from bdpo_pipeline.io.tables import StoredTable

    return StoredTable(next(data_root.glob(f"{name}.parquet/*/*.parquet")))


if __name__ == "__main__":
    sys.exit(main())

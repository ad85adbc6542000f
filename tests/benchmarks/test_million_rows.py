"""The benchmark on a million rows, in small: everything is accounted for, and memory does not hold the texts."""

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bdpo_pipeline.filters import features
from bdpo_pipeline.filters.parameters import FilteringParameters
from bdpo_pipeline.filters.selection import select_pairs
from bdpo_pipeline.io import tables
from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.io.schemas import get_schema
from bdpo_pipeline.io.tables import StoredTable, TableWriter
from bdpo_pipeline.models.loading import load_tokenizer
from bdpo_pipeline.models.tiny import build_tiny_model
from bdpo_pipeline.preferences.ingest import ingest
from bdpo_pipeline.preferences.sources import PreferenceSource

ROOT = Path(__file__).resolve().parents[2]
FEWER, MORE = 1_000, 3_000
RESPONSE_BYTES = 600


def peak_of(function: Callable[[], Any]) -> int:
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def write_rows(path: Path, rows: int) -> None:
    with path.open("w") as file:
        for number in range(rows):
            texts = {name: f"{name} {number} {'x' * RESPONSE_BYTES}" for name in ("chosen", "rejected")}
            file.write(json.dumps({"prompt": f"{number} {number * number}?", **texts}) + "\n")


def read(path: Path) -> StoredTable:
    source = PreferenceSource(name="generated", path=str(path), licence="CC0")
    return ingest([source], RawFolder(path.parent), "paper", 10_000)[0]


@pytest.fixture
def files(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two files beyond what the writers and readers hold at once, so that only what is kept for every row grows."""
    monkeypatch.setattr(tables, "ROWS_PER_GROUP", 256)
    monkeypatch.setattr(features, "ROWS_AT_ONCE", 256)
    folder = tmp_path_factory.mktemp("rows")
    for rows in (FEWER, MORE):
        write_rows(folder / f"{rows}.jsonl", rows)
    return folder / f"{FEWER}.jsonl", folder / f"{MORE}.jsonl"


def test_ingestion_keeps_nothing_of_a_row_in_memory(files):
    fewer, more = (peak_of(lambda path=path: read(path)) for path in files)
    assert (more - fewer) / (MORE - FEWER) < 50


def test_filtering_keeps_keys_and_signatures_of_a_row_and_no_text(files, tmp_path):
    build_tiny_model("llama", tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    base = yaml.safe_load((ROOT / "conf/base/parameters_filtering.yml").read_text())["filtering"]
    length = {"max_prompt_tokens": 2_000, "min_response_tokens": 1, "max_response_tokens": 2_000}
    parameters = FilteringParameters(**base | {"length": length})
    with TableWriter(get_schema("evaluation_prompts")) as writer:
        nothing_asked = writer.finish()
    fewer, more = (
        peak_of(lambda pairs=pairs: select_pairs(pairs, nothing_asked, tokenizer, parameters, seed=0))
        for pairs in map(read, files)
    )
    grown = (more - fewer) / (MORE - FEWER)
    assert grown < 0.8 * RESPONSE_BYTES, grown


def test_a_generated_file_with_planted_defects_is_accounted_for():
    script = ROOT / "benchmarks" / "ingestion" / "million_rows.py"
    done = subprocess.run(
        [sys.executable, str(script), "--rows", "3000", "--env", "test"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    measured = json.loads(done.stdout)
    assert all(measured["checks"].values()), measured["checks"]
    assert measured["peak_rss_bytes"] < 1.5e9

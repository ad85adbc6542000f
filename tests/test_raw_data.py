"""The raw data that ships is what its manifest says."""

import csv
import gzip
import hashlib
import json
from pathlib import Path

import pytest

RAW = Path(__file__).resolve().parents[1] / "data" / "01_raw"
MANIFEST = json.loads((RAW / "MANIFEST.json").read_text())
FILES = {entry["path"]: entry for entry in MANIFEST["files"]}


@pytest.mark.parametrize("path", FILES)
def test_bytes_and_hash_are_the_manifests(path: str):
    content = (RAW / path).read_bytes()
    assert len(content) == FILES[path]["bytes"]
    assert hashlib.sha256(content).hexdigest() == FILES[path]["sha256"]
    assert FILES[path]["licence"]
    assert FILES[path]["source_repository"]


def test_manifest_names_every_file():
    there = {file.relative_to(RAW).as_posix() for file in RAW.rglob("*") if file.is_file()}
    assert there == {*FILES, "MANIFEST.json"}


@pytest.mark.parametrize("path", [path for path in FILES if path.endswith((".jsonl.gz", ".csv"))])
def test_rows_and_columns_are_the_manifests(path: str):
    if path.endswith(".csv"):
        with (RAW / path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        with gzip.open(RAW / path, "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
    assert len(rows) == FILES[path]["rows"]
    assert list(rows[0]) == FILES[path]["columns"]


@pytest.mark.parametrize(
    "where", ["data/README.md", "conf/base/parameters_ingestion.yml", "data/01_raw/MANIFEST.json"]
)
def test_the_licence_warning_stands_where_data_is_chosen(where: str):
    text = (RAW.parents[1] / where).read_text()
    assert "CC-BY-NC-4.0" in text
    assert "no commercial use" in text

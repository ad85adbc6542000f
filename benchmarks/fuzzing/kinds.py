"""The kinds of files that rows are written to, and real rows to begin with."""

import csv
import gzip
import io
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from fuzzing.rows import TYPED_VALUES, Row

RAW = Path(__file__).resolve().parents[2] / "data" / "01_raw"
SUFFIXES = ("jsonl", "jsonl.gz", "csv", "csv.gz", "parquet")
ROWS = 24


@dataclass(frozen=True)
class RealRows:
    """Rows of a real file.

    Attributes:
        name: for the page.
        format: how a source of such rows is configured.
        rows: the first few dozen.
    """

    name: str
    format: str
    rows: list[Row]


def real_preferences() -> list[RealRows]:
    """Return real rows in every format; those of the two that no shipped file has are rewritten pairs."""
    pairs = _first("pku-saferlhf-safety-pairs/pairs.jsonl.gz")
    return [
        RealRows("pku_saferlhf v1", "pku_saferlhf", _first("pku-saferlhf-sample/train.jsonl.gz")),
        RealRows("pku_saferlhf v0", "pku_saferlhf", _first("pku-saferlhf-sample/align_anything_32.jsonl.gz")),
        RealRows("prompt_chosen_rejected", "prompt_chosen_rejected", pairs),
        RealRows("conversational", "conversational", [_as_messages(row) for row in pairs]),
        RealRows("transcript", "transcript", [_as_transcript(row) for row in pairs]),
    ]


def real_prompts() -> list[tuple[str, dict[str, Any], list[Row]]]:
    """Return real evaluation prompts: name, how the set is configured, rows."""
    return [
        ("strongreject", {"prompt_column": "forbidden_prompt", "category_column": "category", "desired": "refuse"},
         _first("strongreject/strongreject_dataset.csv")),
        ("xstest", {"prompt_column": "prompt", "category_column": "type",
                    "desired": {"column": "label", "values": {"safe": "comply", "unsafe": "refuse"}}},
         _first("xstest/xstest_prompts.csv")),
        ("jailbreaks", {"prompt_column": "prompt", "goal_column": "goal", "desired": "refuse", "where": {"method": "GCG"}},
         _first("jailbreakbench-artifacts/transfer_set_vicuna.jsonl.gz")),
    ]  # fmt: skip


def _first(name: str) -> list[Row]:
    if name.endswith(".csv"):
        with (RAW / name).open(newline="", encoding="utf-8") as file:
            return list(itertools.islice(csv.DictReader(file), ROWS))
    with gzip.open(RAW / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in itertools.islice(file, ROWS)]


def _as_messages(row: Row) -> Row:
    return {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "chosen": [{"role": "assistant", "content": row["chosen"]}],
        "rejected": [{"role": "assistant", "content": row["rejected"]}],
    }


def _as_transcript(row: Row) -> Row:
    return {name: f"\n\nHuman: {row['prompt']}\n\nAssistant: {row[name]}" for name in ("chosen", "rejected")}


def write(rows: list[Row], suffix: str, rng: Random) -> bytes:
    """Return rows as the bytes of a file; what the kind cannot hold is written as its text."""
    kind, _, packed = suffix.partition(".")
    content = _WRITERS[kind](rows, rng)
    return gzip.compress(content, 1, mtime=0) if packed else content


def _json_lines(rows: list[Row], rng: Random) -> bytes:
    text = "".join(json.dumps(row, ensure_ascii=rng.random() < 0.5) + "\n" for row in rows)
    return text.encode("utf-8", "surrogatepass")


def _csv(rows: list[Row], rng: Random) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, lineterminator=rng.choice(("\n", "\r\n")))
    writer.writeheader()
    for row in rows:
        writer.writerow({name: json.dumps(v) if isinstance(v, list | dict) else v for name, v in row.items()})
    return text.getvalue().encode("utf-8", "surrogatepass")


def _parquet(rows: list[Row], rng: Random) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [_column([row.get(name) for row in rows], rng) for name in names]
    sink = io.BytesIO()
    parquet.write_table(
        pa.table(columns, names=[name.encode("utf-8", "replace").decode() for name in names]),
        sink,
        compression=rng.choice(("none", "snappy", "zstd", "gzip")),
        row_group_size=rng.choice((4, 1024)),
        data_page_version=rng.choice(("1.0", "2.0")),
        use_dictionary=rng.random() < 0.5,
        write_page_checksum=rng.random() < 0.5,
    )
    return sink.getvalue()


def _column(values: list[Any], rng: Random) -> Any:
    """Return a column of the values as they are; where they are of several types, as texts, now and then as another type altogether."""
    import pyarrow as pa

    if rng.random() < 0.02:
        return pa.array([rng.choice(TYPED_VALUES[:1]) for _ in values], pa.binary())
    if rng.random() < 0.02:
        return pa.array(
            [rng.choice((0, 2**62, -(2**62), 10**12)) for _ in values], pa.timestamp("us", "Mars/Olympus")
        )
    try:
        column = pa.array(values)
    except (pa.ArrowException, OverflowError):
        column = pa.array([None if value is None else str(value) for value in values])
    if rng.random() < 0.05 and pa.types.is_string(column.type):
        column = column.dictionary_encode()
    return column


_WRITERS: dict[str, Callable[[list[Row], Random], bytes]] = {
    "jsonl": _json_lines,
    "csv": _csv,
    "parquet": _parquet,
}

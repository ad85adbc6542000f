import copy
import gc
import os
import subprocess
import sys
import tempfile

import pyarrow as pa
import pytest

from bdpo_pipeline.io import tables
from bdpo_pipeline.io.schemas import get_schema
from bdpo_pipeline.io.tables import TableWriter

SCHEMA = pa.schema([pa.field("number", pa.int64(), nullable=False), pa.field("text", pa.string())])


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch):
    monkeypatch.setattr(tables, "ROWS_PER_GROUP", 8)


def write(rows: int):
    with TableWriter(SCHEMA) as writer:
        for number in range(rows):
            writer.append({"number": number, "text": str(number) if number % 2 else None})
        return writer.finish()


@pytest.mark.parametrize("rows", [0, 1, 10, 25])
def test_rows_come_back_in_order(rows):
    table = write(rows)
    assert table.num_rows == rows
    assert table.schema.equals(SCHEMA)
    assert table.to_pandas()["number"].tolist() == list(range(rows))


def test_batches_are_bounded_and_hold_the_asked_columns():
    batches = list(write(25).batches(["text"], batch_size=7))
    assert [batch.num_rows for batch in batches] == [7, 7, 7, 4]
    assert batches[0].schema.names == ["text"]


def test_rows_and_batches_keep_their_order():
    with TableWriter(SCHEMA) as writer:
        writer.append({"number": 0, "text": "a"})
        writer.append_batch(pa.record_batch([[1, 2], ["b", "c"]], schema=SCHEMA))
        writer.append({"number": 3, "text": "d"})
        table = writer.finish()
    assert table.to_pandas()["text"].tolist() == ["a", "b", "c", "d"]


def test_small_batches_are_gathered_into_row_groups():
    from pyarrow import parquet

    with TableWriter(SCHEMA) as writer:
        for number in range(16):
            writer.append_batch(pa.record_batch([[number], ["x"]], schema=SCHEMA))
        table = writer.finish()
    assert parquet.read_metadata(table.path).num_row_groups == 2


def test_temporary_file_goes_with_its_last_handle():
    table = write(3)
    path, same = table.path, copy.deepcopy(table)
    del table
    gc.collect()
    assert path.exists()
    del same
    gc.collect()
    assert not path.exists()


def test_unfinished_file_goes_with_the_context(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ZeroDivisionError), TableWriter(SCHEMA) as writer:
        writer.append({"number": 1 // 0, "text": ""})
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, pyarrow as pa
from bdpo_pipeline.io.tables import TableWriter
writer = TableWriter(pa.schema([pa.field("text", pa.string())]))
writer.append({"text": "a"})
finished = TableWriter(pa.schema([pa.field("text", pa.string())])).finish()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_goes_and_what_others_use_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine = write(3)
    subprocess.run([sys.executable, "-c", KILLED], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False)
    assert len(list(tmp_path.rglob("*.parquet"))) == 3
    write(1)
    assert list(tmp_path.rglob("*.parquet")) == [mine.path]
    assert mine.num_rows == 3


def test_rows_and_batches_of_any_size_are_written_before_they_fill_the_memory(monkeypatch):
    from pyarrow import parquet

    monkeypatch.setattr(tables, "CHARACTERS_AT_ONCE", 1000)
    monkeypatch.setattr(tables, "BYTES_AT_ONCE", 1000)
    schema = pa.schema([pa.field("said", pa.list_(pa.struct([pa.field("text", pa.string())])))])
    rows = [{"said": [{"text": "x" * 300}, {"text": "y" * 300}]} for _ in range(6)]
    with TableWriter(schema) as writer:
        for row in rows:
            writer.append(row)
        by_rows = writer.finish()
    with TableWriter(schema) as writer:
        for row in rows:
            writer.append_batch(pa.RecordBatch.from_pylist([row], schema=schema))
        by_batches = writer.finish()
    for table in (by_rows, by_batches):
        assert parquet.read_metadata(table.path).num_row_groups == 3
        assert parquet.read_table(table.path).to_pylist() == rows


def test_missing_required_value_is_refused():
    with TableWriter(SCHEMA) as writer:
        writer.append({"number": None, "text": "a"})
        with pytest.raises(pa.ArrowInvalid, match="number"):
            writer.finish()


def test_unknown_schema_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown table schema 'pears'; accepted: pairs, quarantined_rows"):
        get_schema("pears")

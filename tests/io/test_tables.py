import copy
import gc
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


def test_missing_required_value_is_refused():
    with TableWriter(SCHEMA) as writer:
        writer.append({"number": None, "text": "a"})
        with pytest.raises(pa.ArrowInvalid, match="number"):
            writer.finish()


def test_unknown_schema_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown table schema 'pears'; accepted: pairs, quarantined_rows"):
        get_schema("pears")

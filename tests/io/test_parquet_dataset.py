from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from kedro.io import DatasetError, Version

from bdpo_pipeline.io.parquet_dataset import StreamedParquetDataset
from bdpo_pipeline.io.schemas import get_schema
from bdpo_pipeline.io.tables import StoredTable, TableWriter

ROW = {
    "pair_id": "00",
    "source": "here",
    "source_row": 1,
    "stage": "length",
    "reason": "prompt too long",
    "detail": None,
}


def dataset(folder: Path, save: str | None = None, load: str | None = None) -> StreamedParquetDataset:
    return StreamedParquetDataset(
        filepath=str(folder / "dropped.parquet"), schema="dropped_pairs", version=Version(load, save)
    )


def stored(rows: int = 3) -> StoredTable:
    with TableWriter(get_schema("dropped_pairs")) as writer:
        for number in range(rows):
            writer.append({**ROW, "source_row": number})
        return writer.finish()


@pytest.mark.parametrize("kind", ["stored", "arrow", "frame"])
def test_every_kind_of_table_comes_back(tmp_path, kind):
    frame = pd.DataFrame([ROW, {**ROW, "detail": "x"}])
    with TableWriter(get_schema("dropped_pairs")) as writer:
        for row in (ROW, {**ROW, "detail": "x"}):
            writer.append(row)
        table = writer.finish()
    data = {"stored": table, "arrow": pa.Table.from_batches(table.batches()), "frame": frame}[kind]
    dataset(tmp_path).save(data)
    loaded = dataset(tmp_path).load()
    assert loaded.schema.equals(get_schema("dropped_pairs"))
    assert [row for batch in loaded.batches() for row in batch.to_pylist()] == [ROW, {**ROW, "detail": "x"}]


def test_versions_stay_and_the_last_one_is_loaded(tmp_path):
    dataset(tmp_path, save="2026-01-01T00.00.00.000Z").save(stored(1))
    dataset(tmp_path, save="2026-01-02T00.00.00.000Z").save(stored(2))
    assert dataset(tmp_path).load().num_rows == 2
    assert dataset(tmp_path, load="2026-01-01T00.00.00.000Z").load().num_rows == 1


def test_same_bytes_are_stored_once(tmp_path):
    dataset(tmp_path, save="2026-01-01T00.00.00.000Z").save(stored())
    first = dataset(tmp_path).load()
    dataset(tmp_path, save="2026-01-02T00.00.00.000Z").save(first)
    assert dataset(tmp_path).load().path.samefile(first.path)


def test_saved_table_outlives_the_temporary_one(tmp_path):
    table = stored()
    dataset(tmp_path).save(table)
    del table
    assert dataset(tmp_path).load().num_rows == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda frame: frame.drop(columns="stage"),
            "column 'stage' is missing; a dropped_pairs table has: pair_id",
        ),
        (lambda frame: frame.assign(shoe=1), "column 'shoe' is not known"),
        (lambda frame: frame.assign(source_row="one"), "column 'source_row' is not int64"),
        (
            lambda frame: frame.assign(reason=None),
            "column 'reason' has 1 rows without a value; accepted: string",
        ),
    ],
)
def test_frame_that_breaks_the_schema_names_the_column(tmp_path, change, message):
    with pytest.raises(DatasetError, match=message):
        dataset(tmp_path).save(change(pd.DataFrame([ROW])))
    assert not dataset(tmp_path).exists()


def test_stored_table_of_another_schema_names_the_column(tmp_path):
    with TableWriter(pa.schema([("pair_id", pa.int64())])) as writer:
        table = writer.finish()
    with pytest.raises(DatasetError, match="column 'pair_id' is int64; accepted: string"):
        dataset(tmp_path).save(table)


def test_failed_save_leaves_no_partial_file(tmp_path):
    with pytest.raises(DatasetError):
        dataset(tmp_path).save(pd.DataFrame([{**ROW, "reason": None}]))
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_other_types_are_refused(tmp_path):
    with pytest.raises(
        DatasetError, match="cannot save list; accepted: StoredTable, pyarrow Table, DataFrame"
    ):
        dataset(tmp_path).save([ROW])


def test_absent_table_says_what_to_do(tmp_path):
    plain = StreamedParquetDataset(filepath=str(tmp_path / "a.parquet"), schema="pairs")
    with pytest.raises(DatasetError, match="run the pipeline that makes it first"):
        plain.load()


def test_preview_is_what_kedro_viz_reads(tmp_path):
    import inspect

    dataset(tmp_path).save(stored(30))
    preview = dataset(tmp_path).preview(nrows=4)
    assert preview["columns"] == list(ROW)
    assert len(preview["data"]) == 4
    annotation = inspect.signature(StreamedParquetDataset.preview).return_annotation
    assert annotation.__name__ == "TablePreview"


def test_preview_holds_plain_cells_only(tmp_path):
    """Kedro-Viz's table cannot show an object, and shows nothing for true or false."""
    message = {"role": "user", "content": "Grüße"}
    row = dict.fromkeys(get_schema("pairs").names, "a") | {"source_row": 7, "harm_categories": ["Theft"]}
    row |= {"prompt": [message], "chosen_is_safe": True, "rejected_is_safe": None}
    row |= {"chosen_severity": 0, "rejected_severity": None}
    with TableWriter(get_schema("pairs")) as writer:
        writer.append(row)
        table = writer.finish()
    pairs = StreamedParquetDataset(filepath=str(tmp_path / "pairs.parquet"), schema="pairs")
    pairs.save(table)
    preview = pairs.preview()
    shown = dict(zip(preview["columns"], preview["data"][0], strict=True))
    assert shown["prompt"] == '[{"role": "user", "content": "Grüße"}]'
    assert (shown["chosen_is_safe"], shown["rejected_is_safe"]) == ("true", None)
    assert (shown["harm_categories"], shown["source_row"], shown["chosen_severity"]) == ('["Theft"]', 7, 0)

"""Rows of every kind of file, whole or broken."""

import csv
import gzip
import io
import json
import tracemalloc

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from bdpo_pipeline.preferences.readers import read_file, read_hub

LIMIT = 10_000


def read(path, limit=LIMIT):
    return list(read_file(path, limit))


def reasons(rows):
    return [(row.number, row.defect and row.defect.reason) for row in rows]


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "csv", "csv.gz", "parquet"])
def test_every_kind_gives_the_same_rows(tmp_path, suffix):
    rows = [
        {"prompt": "Wie geht's?\nUnd nun?", "chosen": 'Gut, "sehr" gut'},
        {"prompt": "ça", "chosen": "va, oui"},
    ]
    path = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        text = io.StringIO(newline="")
        if suffix.startswith("csv"):
            writer = csv.DictWriter(text, ["prompt", "chosen"])
            writer.writeheader()
            writer.writerows(rows)
        else:
            text.writelines(json.dumps(row) + "\n" for row in rows)
        content = text.getvalue().encode()
        path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    found = read(path)
    assert [dict(row.fields) for row in found] == rows
    assert [row.number for row in found] == [1, 2]
    assert all(row.defect is None for row in found)


def test_json_lines_count_lines_and_skip_blank_ones(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n  \n{"a": 2}')
    assert [(row.number, row.fields) for row in read(path)] == [(1, {"a": 1}), (4, {"a": 2})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1', "broken_json"),
        (b"{'a': 1}", "broken_json"),
        (b"[" * 5000, "broken_json"),
        (b'{"a": "\xff"}', "broken_encoding"),
        ('{"a": 1}'.encode("utf-16-le"), "broken_json"),
        (b'["a"]', "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"a": "' + b"x" * LIMIT + b'"}', "row_too_long"),
    ],
)
def test_broken_json_line_is_reported_and_the_next_one_read(tmp_path, line, reason):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 0}\n' + line + b'\n{"a": 2}\n')
    assert reasons(read(path)) == [(1, None), (2, reason), (3, None)]


def test_overlong_line_never_stands_in_memory(tmp_path):
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as file:
        for _ in range(30):
            file.write(b"x" * 1_000_000)
        file.write(b'\n{"a": 2}\n')
    tracemalloc.start()
    rows = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reasons(rows) == [(1, "row_too_long"), (2, None)]
    assert peak < 1_000_000


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.95])
def test_cut_gzip_gives_whole_rows_then_one_defect(tmp_path, keep):
    whole = gzip.compress(b"".join(json.dumps({"a": str(i) * 20}).encode() + b"\n" for i in range(5000)))
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(whole[: int(len(whole) * keep)])
    rows = read(path)
    assert [row.fields["a"] for row in rows[:-1]] == [str(i) * 20 for i in range(len(rows) - 1)]
    assert rows[-1].defect.reason == "broken_file"
    assert "fetch the file again" in str(rows[-1].defect)


def test_file_that_is_no_gzip_is_one_defect(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(b'{"a": 1}\n')
    assert reasons(read(path)) == [(1, "broken_file")]


def test_broken_csv_records_are_reported_and_the_next_ones_read(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b'a,b\n1,2\n1,2,3\n4\n\xff,5\n"x"y,6\n7,8\n' + b"y" * (LIMIT + 5) + b",9\n10,11\n")
    rows = read(path)
    assert reasons(rows) == [
        (1, None),
        (2, "wrong_cell_count"),
        (3, "wrong_cell_count"),
        (4, "broken_encoding"),
        (5, "broken_csv"),
        (6, None),
        (7, "row_too_long"),
        (8, None),
    ]
    assert rows[7].fields == {"a": "10", "b": "11"}
    assert rows[4].text == b'"x"y,6\n'


def test_unclosed_quote_is_reported_with_its_lines(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b'a,b\n1,2\n"3,4\n5,6\n')
    rows = read(path)
    assert reasons(rows) == [(1, None), (2, "broken_csv")]
    assert "lines 3 to 4" in str(rows[1].defect)


def test_cut_csv_gzip_is_reported(tmp_path):
    whole = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(5000)))
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    rows = read(path)
    assert rows[-1].defect.reason == "broken_file"
    assert all(row.defect is None for row in rows[:-1])


def test_other_kinds_of_file_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"rows.xlsx: cannot read .*accepted: .jsonl, .jsonl.gz, .csv"):
        read_file(tmp_path / "rows.xlsx", LIMIT)
    (tmp_path / "rows.parquet").write_bytes(b"PAR2")
    with pytest.raises(ValueError, match="is not a Parquet file"):
        read(tmp_path / "rows.parquet")


def test_hub_rows_come_through_datasets(tmp_path):
    rows = [{"prompt": f"p{i}", "chosen": "a", "rejected": "b"} for i in range(5)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(read_hub(str(tmp_path), "main", None, "train"))
    assert [dict(row.fields) for row in found] == rows
    assert [row.number for row in found] == [1, 2, 3, 4, 5]


def test_absent_hub_split_says_what_to_check(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"a": "b"}\n')
    with pytest.raises(
        ValueError, match=r"split tomorrow\) cannot be read: .*check the names and the connection"
    ):
        next(read_hub(str(tmp_path), "main", None, "tomorrow"))


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=400), suffix=st.sampled_from(["jsonl", "jsonl.gz", "csv.gz"]))
def test_no_bytes_whatever_stop_a_reader(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("bytes") / f"rows.{suffix}"
    header = b"a,b\n" if suffix == "csv.gz" else b""
    path.write_bytes(content if suffix == "jsonl" else gzip.compress(header + content))
    numbers = [row.number for row in read(path, limit=100)]
    assert numbers == sorted(set(numbers))


def test_reading_csv_leaves_the_process_wide_field_limit(tmp_path):
    before = csv.field_size_limit()
    (tmp_path / "rows.csv").write_text("a\nb\n")
    read(tmp_path / "rows.csv", limit=50)
    assert csv.field_size_limit() == before

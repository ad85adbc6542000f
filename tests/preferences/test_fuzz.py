"""Whatever bytes a source holds: every row is accounted for, an error names the file and the remedy, and memory stays bounded."""

import gzip
import io
import itertools
import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from bdpo_pipeline.io import tables
from bdpo_pipeline.io.schemas import get_schema
from bdpo_pipeline.preferences import parquet_reader, parquet_rows, readers
from bdpo_pipeline.preferences.acceptance import UnusableSourceError, check_sources
from bdpo_pipeline.preferences.defects import RowError
from bdpo_pipeline.preferences.lines import RawRow
from bdpo_pipeline.preferences.readers import read_file, read_hub

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
TEXT_SUFFIXES = ("jsonl", "jsonl.gz", "csv", "csv.gz")
LIMIT = 100_000


@pytest.fixture(scope="module", autouse=True)
def _fuzzing():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield


def read_parquet_here(path, max_row_bytes):
    """Read as ``read_parquet`` does, in this process: a mutation takes milliseconds and not the start of a process."""
    sent, cause = io.BytesIO(), None
    try:
        parquet_rows.send_rows(path, max_row_bytes, sent)
    except (pa.ArrowException, OSError, ValueError) as error:
        cause = f"{type(error).__name__}: {error}"
    rows = list(parquet_reader.unpack_rows(io.BytesIO(sent.getvalue()), max_row_bytes))
    yield from rows
    if cause and not rows:
        raise ValueError(f"{path} is not a Parquet file, or a broken one: {cause}. Fetch it again")
    if cause:
        yield RawRow(len(rows) + 1, {}, None, RowError("broken_file", None, cause))


def outcomes(cases, folder):
    from fuzzing.cases import run

    return [run(case, folder).how for case in cases]


def test_mutated_text_sources_are_read_or_refused(tmp_path):
    from fuzzing.cases import preference_cases

    found = outcomes(itertools.islice(preference_cases(1, TEXT_SUFFIXES), 1_000), tmp_path)
    assert len(found) == 1_000
    assert {"read", "read, refused", "refused"} == set(found)


def test_mutated_parquet_sources_are_read_or_refused(tmp_path, monkeypatch):
    from fuzzing.cases import preference_cases

    monkeypatch.setattr(readers, "read_parquet", read_parquet_here)
    found = outcomes(itertools.islice(preference_cases(1, ("parquet",)), 400), tmp_path)
    assert {"read", "read, refused", "refused"} == set(found)


def test_mutated_parquet_sources_are_read_in_their_own_process_as_here(tmp_path):
    from fuzzing.cases import preference_cases

    for case in itertools.islice(preference_cases(2, ("parquet",)), 10):
        path = tmp_path / case.name
        path.write_bytes(case.content)
        found = []
        for read in (parquet_reader.read_parquet, read_parquet_here):
            try:
                found.append(
                    [
                        (row.number, str(row.fields), row.defect and row.defect.reason)
                        for row in read(path, LIMIT)
                    ]
                )
            except ValueError:
                found.append([])
        assert found[0] == found[1]


def test_same_seed_gives_the_same_files():
    from fuzzing.cases import preference_cases, prompt_cases

    for cases in (preference_cases, prompt_cases):
        one, two, other = ([case.content for case in itertools.islice(cases(seed), 30)] for seed in (3, 3, 4))
        assert one == two
        assert one != other


@settings(max_examples=150, deadline=None)
@given(
    content=st.binary(max_size=300),
    suffix=st.sampled_from(TEXT_SUFFIXES),
    name=st.sampled_from(["auto", "transcript"]),
)
def test_any_bytes_are_read_or_refused(tmp_path_factory, content, suffix, name):
    from fuzzing.judge import judge_preferences

    path = tmp_path_factory.mktemp("bytes") / f"rows.{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    assert judge_preferences(path, name).how in ("read", "read, refused", "refused")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["prompt", "chosen", "rejected", "response_0", "response_1", "safer_response_id", "\ud800", "a\nb"]
)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.dictionaries(NAMES, JSON, max_size=6), max_size=6),
    suffix=st.sampled_from(["jsonl", "jsonl.gz"]),
)
def test_any_json_is_read_or_refused(tmp_path_factory, rows, suffix):
    from fuzzing.judge import judge_preferences

    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path = tmp_path_factory.mktemp("rows") / f"rows.{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    for name in ("auto", "pku_saferlhf", "conversational"):
        assert judge_preferences(path, name).how in ("read", "read, refused", "refused")


# What fuzzing found, each as small as it gets.


def read(path, limit=LIMIT):
    return list(read_file(path, limit))


def reasons(rows):
    return [(row.number, row.defect and row.defect.reason) for row in rows]


def test_field_names_that_nothing_can_show_are_escaped_and_cut(tmp_path):
    from fuzzing.judge import judge_preferences

    names = ["\ud800", "x" * 5_000, *(f"field_{i}" for i in range(100))]
    (tmp_path / "rows.jsonl").write_text(json.dumps(dict.fromkeys(names, 1)) + "\n")
    outcome = judge_preferences(tmp_path / "rows.jsonl", "transcript")
    assert outcome.rows["quarantined"] == 1
    assert "'\\ud800'" in outcome.message
    assert "and 82 more" in outcome.message
    assert len(outcome.message) < 2_000


def test_name_that_stands_twice_in_an_object_is_no_silent_choice(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1, "b": {"c": 1, "c": 2}}\n{"a": 1}\n')
    rows = read(path)
    assert reasons(rows) == [(1, "duplicate_field"), (2, None)]
    assert rows[0].defect.field == "c"


def test_column_named_twice_in_a_header_is_refused(tmp_path):
    (tmp_path / "rows.csv").write_text("prompt,chosen,chosen\na,b,c\n")
    with pytest.raises(ValueError, match=r"rows.csv: the header line names 'chosen' more than once"):
        read(tmp_path / "rows.csv")


@pytest.mark.parametrize("line", [b'"x\n",', b"x\n"])
def test_csv_record_without_end_is_cut_at_the_bound(tmp_path, line):
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b'a,b\n1,"' + line * (300_000 // len(line)) + b"\n"))
    tracemalloc.start()
    count = sum(row.defect is not None for row in read_file(path, 10_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count >= 15
    assert peak < 500_000


def write_parquet(path, table, **options):
    parquet.write_table(table, path, **options)
    return path


def test_parquet_row_group_that_is_broken_loses_no_row_before_it(tmp_path):
    texts = [str(i) * 50 for i in range(30)]
    options = {"row_group_size": 10, "compression": "none", "use_dictionary": False}
    path = write_parquet(tmp_path / "rows.parquet", pa.table({"a": texts}), **options)
    start = parquet.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    rows = read(path)
    assert [row.fields.get("a") for row in rows[:-1]] == texts[:10]
    assert reasons(rows[-1:]) == [(11, "broken_file")]
    assert "what follows is lost, fetch the file again" in str(rows[-1].defect)


def test_parquet_text_that_is_not_utf8_costs_its_row_alone(tmp_path):
    column = pa.array([b"good", b"\xff", b"good"]).cast(pa.string(), safe=False)
    rows = read(write_parquet(tmp_path / "rows.parquet", pa.table({"a": column})))
    assert reasons(rows) == [(1, None), (2, "broken_encoding"), (3, None)]
    assert rows[1].defect.field == "a"


@pytest.mark.parametrize("kind", [pa.timestamp("us", "Mars/Olympus"), pa.timestamp("us")])
def test_parquet_value_that_python_has_no_type_for_costs_its_row_alone(tmp_path, kind):
    table = pa.table({"a": pa.array([None, 2**62], kind), "b": ["x", "y"]})
    rows = read(write_parquet(tmp_path / "rows.parquet", table))
    assert reasons(rows) == [(1, None), (2, "wrong_type")]
    assert rows[1].defect.field == "a"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table([pa.array(["x"])] * 2, names=["a", "a"]), "the column 'a' is there more than once"),
        (pa.table({}), "it has no column"),
    ],
)
def test_parquet_columns_that_give_no_rows_are_refused(tmp_path, table, message):
    with pytest.raises(
        ValueError, match=rf"rows.parquet is not a Parquet file, or a broken one: .*{message}"
    ):
        read(write_parquet(tmp_path / "rows.parquet", table))


def test_parquet_row_above_the_bound_is_not_read(tmp_path):
    table = pa.table({"a": ["x", "y" * 2_000, "z"], "b": ["1", "2", "3"]})
    rows = read(write_parquet(tmp_path / "rows.parquet", table), limit=1_000)
    assert reasons(rows) == [(1, None), (2, "row_too_long"), (3, None)]
    assert "ingestion.max_row_bytes allows 1000" in str(rows[1].defect)


def test_parquet_categories_come_as_their_texts(tmp_path):
    table = pa.table({"a": pa.array(["x", "y", "x"]).dictionary_encode()})
    assert [row.fields for row in read(write_parquet(tmp_path / "rows.parquet", table))] == [
        {"a": "x"},
        {"a": "y"},
        {"a": "x"},
    ]


def test_parquet_rows_that_are_declared_and_not_there_are_named(tmp_path):
    from fuzzing.bombs import make_bombs

    bomb = next(bomb for bomb in make_bombs(0) if bomb.name == "declared.parquet")
    bomb.write(tmp_path / bomb.name)
    rows = read(tmp_path / bomb.name)
    assert reasons(rows[-2:]) == [(8_191, None), (8_192, "broken_file")]
    assert "8191 rows were found where 1000000000000000 are declared" in str(rows[-1].defect)


def test_parquet_that_takes_more_memory_than_it_may_is_refused(tmp_path):
    value = pa.array(["x" * 20_000_000])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 64, pa.int32()), value)
    path = write_parquet(
        tmp_path / "rows.parquet", pa.table({"a": column}), compression="zstd", store_schema=False
    )
    assert path.stat().st_size < 10_000
    with pytest.raises(ValueError, match=r"rows.parquet .* reading a part of it takes more than 1024 MiB"):
        read(path)


def test_reading_process_that_is_killed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_reader.sys, "executable", str(tmp_path / "killed"))
    (tmp_path / "killed").write_text("#!/bin/sh\nkill -SEGV $$\n")
    (tmp_path / "killed").chmod(0o755)
    with pytest.raises(ValueError, match=r"rows.parquet is .*: reading it ended with SIGSEGV"):
        read(tmp_path / "rows.parquet")


def test_reading_process_ends_with_those_who_stop_reading(tmp_path):
    path = write_parquet(tmp_path / "rows.parquet", pa.table({"a": [str(i) * 100 for i in range(100_000)]}))
    rows = read_file(path, LIMIT)
    assert next(rows).fields == {"a": "0" * 100}
    process = rows.gi_frame.f_locals["process"]
    rows.close()
    assert process.returncode is not None


def test_hub_data_that_breaks_off_is_accounted_for(tmp_path):
    (tmp_path / "train-00000.jsonl").write_text('{"a": "b"}\n' * 3)
    (tmp_path / "train-00001.jsonl").write_text('{"a": [1, {"b"\n')
    rows = list(read_hub(str(tmp_path), "main", None, "train"))
    assert reasons(rows) == [(1, None), (2, None), (3, None), (4, "broken_file")]


def test_source_that_is_not_accepted_is_named_with_its_file():
    summary = {"name": "mine", "file": "rows.jsonl", "hub": None, "rows_read": 0, "pairs": 0, "quarantined": 0,
               "quarantined_reasons": {}, "no_preference_reasons": {}}  # fmt: skip
    with tables.TableWriter(get_schema("pairs")) as writer:
        table = writer.finish()
        with pytest.raises(
            UnusableSourceError, match=r"source 'mine' \(rows.jsonl\): none of 0 rows gives a pair"
        ):
            check_sources([summary], table, 0.5)


def test_pairs_of_the_largest_size_do_not_wait_in_memory(tmp_path, monkeypatch):
    from fuzzing.judge import judge_preferences

    monkeypatch.setattr(tables, "CHARACTERS_AT_ONCE", 2_000_000)
    rows = ({"prompt": f"{i}", "chosen": "c" * 500_000, "rejected": "r"} for i in range(80))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tracemalloc.start()
    outcome = judge_preferences(tmp_path / "rows.jsonl", "auto")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert outcome.rows["pairs"] == 80
    assert peak < 15_000_000

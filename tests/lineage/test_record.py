from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdpo_pipeline.lineage import record as record_module
from bdpo_pipeline.lineage.artifacts import record_path
from bdpo_pipeline.lineage.record import AlteredRecordError, from_json, read_record, to_json

from .records import made_from, record

SAVED = made_from(record("scores", "score", "22"), record("pairs", "filter", "11"))
TEXT = to_json(SAVED).encode()


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    artifact = tmp_path / "scores.csv"
    assert read_record(artifact) is None
    record_path(artifact).write_bytes(TEXT)
    assert read_record(artifact) == SAVED


@settings(max_examples=400, deadline=None)
@given(place=st.integers(0, len(TEXT) - 1), byte=st.integers(0, 255))
def test_any_other_byte_anywhere_is_found(
    place: int, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    altered = bytearray(TEXT)
    altered[place] = byte
    artifact = tmp_path_factory.mktemp("altered") / "scores.csv"
    record_path(artifact).write_bytes(altered)
    if bytes(altered) == TEXT:
        assert read_record(artifact) == SAVED
    else:
        with pytest.raises(AlteredRecordError, match=r"scores\.csv\.lineage\.json"):
            read_record(artifact)


@pytest.mark.parametrize("length", [0, 1, len(TEXT) // 2, len(TEXT) - 1])
def test_a_torn_record_is_found(length: int) -> None:
    with pytest.raises(AlteredRecordError):
        from_json(TEXT[:length].decode(), "here")


def test_a_record_of_another_format_names_what_can_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_module, "FORMAT", 99)
    newer = to_json(replace(SAVED))
    monkeypatch.undo()
    with pytest.raises(AlteredRecordError, match="another format than 1; read it with the commit"):
        from_json(newer, "here")


def test_the_seal_of_an_ingredient_goes_into_that_of_what_is_made_from_it() -> None:
    pairs = record("pairs", "filter", "11")
    other = record("pairs", "filter", "11", python="3.12.0")
    assert made_from(SAVED, pairs).seal != made_from(SAVED, other).seal

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from bdpo_pipeline.lineage.library import Entry, Library, NotFoundError
from bdpo_pipeline.lineage.picture import draw
from bdpo_pipeline.lineage.record import Made, Record
from bdpo_pipeline.lineage.trace import Step, trace
from bdpo_pipeline.lineage.words import trace_lines

from .records import RECIPE, made_from, record

RAW = {"raw data pairs.jsonl": "ff" * 32}
READ = Made(
    "read", replace(RECIPE, files=RAW), {}, {"raw data pairs.jsonl": "data/01_raw/pairs.jsonl"}, {}, []
)
PAIRS = record("pairs", "accept", "11")
PAIRS = replace(PAIRS, made=replace(PAIRS.made, in_memory={"read_pairs": READ}))
SCORES = made_from(record("scores", "score", "22"), PAIRS)
REPORT = made_from(record("report", "write", "33"), SCORES, PAIRS)


def steps(*known: Record) -> list[Step]:
    return trace([Entry(REPORT, None)], Library([Entry(one, None) for one in known]))


def test_the_way_leads_to_the_raw_file_each_thing_once_and_parents_first() -> None:
    found = steps(PAIRS, SCORES, REPORT)
    assert [(one.kind, one.name) for one in found] == [
        ("file", "raw data pairs.jsonl"),
        ("in memory", "read_pairs"),
        ("artifact", "pairs"),
        ("artifact", "scores"),
        ("artifact", "report"),
    ]
    keys = [one.key for one in found]
    assert all(keys.index(parent) < keys.index(one.key) for one in found for parent in one.parents)
    assert found[0].path == "data/01_raw/pairs.jsonl"


def test_a_lost_record_is_said_and_the_rest_of_the_way_stays() -> None:
    found = steps(PAIRS, REPORT)
    assert [one.name for one in found if one.kind == "unknown"] == ["scores"]
    assert "its record is lost" in "\n".join(trace_lines(found, parameters=False))
    assert "raw data pairs.jsonl" in {one.name for one in found}


def test_another_record_of_the_same_content_takes_the_place_of_a_lost_one() -> None:
    again = replace(SCORES, session={**SCORES.session, "run_id": "s9"}, time="2026-02-01")
    assert again.seal != SCORES.seal
    assert [one.kind for one in steps(PAIRS, again, REPORT)].count("unknown") == 0


def test_text_shows_parameters_only_when_asked() -> None:
    found = steps(PAIRS, SCORES, REPORT)
    plain, full = ("\n".join(trace_lines(found, parameters=one)) for one in (False, True))
    assert "training.optimiser.learning_rate = 0.0001" in full
    assert "learning_rate" not in plain
    assert plain.count("(above)") == 1


def test_the_picture_has_a_box_for_each_thing_and_an_arrow_for_each_use() -> None:
    found = steps(PAIRS, SCORES, REPORT)
    root = ElementTree.fromstring(draw(found))  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{space}g")) == len(found)
    assert len(root.findall(f"{space}path")) == sum(len(one.parents) for one in found)
    boxes = [(box.get("x"), box.get("y")) for box in root.iter(f"{space}rect") if box.get("rx")]
    assert len(set(boxes)) == len(found)


def test_what_is_not_there_is_answered_with_what_is() -> None:
    library = Library([Entry(PAIRS, None)])
    with pytest.raises(NotFoundError, match="no record of 'pears'; there are: pairs"):
        library.find("pears")
    with pytest.raises(NotFoundError, match="pairs has no version v9; the newest are: s1"):
        library.find("pairs", "v9")

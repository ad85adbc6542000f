"""What a pass keeps for a run that goes on: lines of JSON, of which any may be torn, altered or doubled."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdpo_pipeline.engine.beginning import Beginning
from bdpo_pipeline.engine.context import EventWriter
from bdpo_pipeline.engine.job_folder import finished_result, write_result
from bdpo_pipeline.engine.kept import KEPT, gather, has_results, items_of, read_kept
from bdpo_pipeline.engine.sealed import DamagedError, seal, unseal_text


def scores(*responses: int):
    return {"event": "scores", "responses": list(responses), "logps": [-0.1 * i for i in responses]}


def answers(model: str, *prompts: int):
    return {
        "event": "generations",
        "model": model,
        "prompts": list(prompts),
        "response": ["ä\u2028\n"] * len(prompts),
    }


def write(folder, number: int, *events) -> None:
    writer = EventWriter(folder / f"events-{number}.jsonl")
    writer.emit({"event": "progress", "done": 1})
    for event in events:
        writer.keep(event)


def test_results_of_all_processes_are_kept_once_and_their_events_are_gone(tmp_path):
    write(tmp_path, 0, scores(0, 1), scores(4))
    write(tmp_path, 1, scores(2, 3))
    gather(tmp_path)
    assert read_kept(tmp_path) == [scores(0, 1), scores(4), scores(2, 3)]
    # Killed between writing and removing, it finds the same lines again.
    write(tmp_path, 0, scores(4), scores(5))
    gather(tmp_path)
    assert read_kept(tmp_path) == [scores(0, 1), scores(4), scores(2, 3), scores(5)]
    assert [path.name for path in tmp_path.iterdir()] == [KEPT]


def test_answers_of_two_models_are_told_apart():
    found = items_of([answers("base", 0, 1), answers("adapter", 1), {"event": "began", "threads": 1}])
    assert found == {("base", 0), ("base", 1), ("adapter", 1)}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_kept_is_what_was_written_wherever_a_file_is_cut_and_whichever_byte_is_altered(
    tmp_path_factory, data
):
    folder = tmp_path_factory.mktemp("job")
    events = [answers("base", i, i + 1) for i in range(0, 8, 2)]
    write(folder, 0, *events)
    path = folder / "events-0.jsonl"
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
        lines = bytes(content).count(b"\n")
        expected = events[: max(lines - 1, 0)]
    else:
        content[place] ^= data.draw(st.sampled_from([1, 2, 32]))
        # The first line is no result; a line's last byte is its end, without which two lines are one.
        hit = bytes(path.read_bytes())[:place].count(b"\n")
        lost = {hit - 1} | ({hit} if path.read_bytes()[place] == ord("\n") else set())
        expected = [event for number, event in enumerate(events) if number not in lost]
    path.write_bytes(content)
    gather(folder)
    assert read_kept(folder) == expected
    assert has_results(folder) == bool(expected)


def test_an_altered_result_is_named_and_a_torn_one_is_not(tmp_path, caplog):
    write(tmp_path, 0, scores(0), scores(1))
    path = tmp_path / "events-0.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    gather(tmp_path)
    assert caplog.text == ""
    kept = tmp_path / KEPT
    kept.write_text(kept.read_text().replace("-0.0", "-0.5"))
    gather(tmp_path)
    assert "a result was altered" in caplog.text
    assert read_kept(tmp_path) == []


def test_a_beginning_alone_or_a_torn_line_is_no_result(tmp_path):
    began = {"event": "began", "layout": {}, "threads": 1}
    write(tmp_path, 0, began)
    assert not has_results(tmp_path)
    with (tmp_path / "events-0.jsonl").open("a") as file:
        file.write(seal(scores(3))[:-4])
    assert not has_results(tmp_path)
    write(tmp_path, 1, scores(3))
    assert has_results(tmp_path)


def test_what_is_partly_done_is_not_done():
    beginning = Beginning({(None, 0), (None, 2)}, {})
    assert beginning.has([0, 2])
    assert not beginning.has([0, 1])


def test_a_pass_of_which_a_result_is_lost_is_not_finished(tmp_path, caplog):
    write(tmp_path, 0, scores(0, 1), scores(2))
    write_result(tmp_path, {"results": 3, "device": "cpu"})
    assert finished_result(tmp_path) == {"results": 3, "device": "cpu"}
    lines = (tmp_path / KEPT).read_text().splitlines(keepends=True)
    (tmp_path / KEPT).write_text(lines[0])
    assert finished_result(tmp_path) is None
    assert "1 of its results are missing" in caplog.text


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(), st.recursive(st.none() | st.floats(allow_nan=False) | st.text(), st.lists)))
def test_a_seal_shows_every_altered_byte(content):
    text = seal(content)
    assert unseal_text(text, "it") == json.loads(json.dumps(content))
    with pytest.raises(DamagedError, match=r"^it (is torn or )?was altered"):
        unseal_text(text.replace("content", "contens", 1), "it")
    with pytest.raises(DamagedError):
        unseal_text(text[:-1], "it")

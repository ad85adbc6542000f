"""Files that a node reads outside the catalog: each is noted, whatever it is called."""

from pathlib import Path

from bdpo_pipeline.files_read import note_file, noting_files


def test_files_of_one_name_are_told_apart_and_one_that_is_read_twice_is_noted_once():
    with noting_files() as found:
        for place in ("one/weights", "two/weights", "one/weights", "two/weights", "three/weights"):
            note_file("weights", Path(place))
    assert found == {
        "weights": Path("one/weights"),
        "weights (2)": Path("two/weights"),
        "weights (3)": Path("three/weights"),
    }


def test_what_is_read_while_nobody_notes_is_not_noted():
    with noting_files() as found:
        pass
    note_file("weights", Path("one/weights"))
    assert found == {}

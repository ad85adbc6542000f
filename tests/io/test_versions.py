"""Two sessions at once, interleaved on purpose: each loads its own versions and what was there when it started."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.hooks import _create_hook_manager
from kedro.io import AbstractVersionedDataset, DataCatalog, DatasetError, Version
from kedro.pipeline import Pipeline, node
from kedro.runner import SequentialRunner, ThreadRunner

from bdpo_pipeline.io import versions
from bdpo_pipeline.io.versions import PinVersionsHook
from bdpo_pipeline.io.whole_files import JSONDataset

V0, V1, V2 = (f"2026-01-0{n}T00.00.00.000Z" for n in (1, 2, 3))
NAMES = ("source", "middle", "other", "result")


class Session:
    """What KedroSession.run does with a pipeline: a catalog that saves under the session's id, hooks, a runner."""

    def __init__(self, folder: Path, session_id: str, pin: bool = True, **load_versions: str) -> None:
        entry = {"type": "bdpo_pipeline.io.whole_files.JSONDataset", "versioned": True}
        entries = {name: {**entry, "filepath": str(folder / f"{name}.json")} for name in NAMES}
        self.catalog = DataCatalog.from_config(entries, save_version=session_id, load_versions=load_versions)
        self.hooks = _create_hook_manager()
        if pin:
            self.hooks.register(PinVersionsHook())

    def run(self, pipeline: Pipeline, runner: Any = None, **options: Any) -> dict[str, Any]:
        self.hooks.hook.before_pipeline_run(run_params={}, pipeline=pipeline, catalog=self.catalog)
        return (runner or SequentialRunner()).run(pipeline, self.catalog, self.hooks, **options)


def save(folder: Path, version: str, **values: Any) -> None:
    for name, value in values.items():
        JSONDataset(filepath=str(folder / f"{name}.json"), version=Version(None, version)).save(value)


def load(folder: Path, name: str, version: str) -> Any:
    return JSONDataset(filepath=str(folder / f"{name}.json"), version=Version(version, None)).load()


def chain(tag: str, between: Callable[[str], object] = str) -> Pipeline:
    """source -> middle -> result, and result takes source and other as well; `between` acts for another session."""

    def first(source: str) -> str:
        between("while middle is made")
        return f"middle of {tag} from {source}"

    def pause(middle: str) -> str:
        between("after middle is saved")
        return middle

    def last(paused: str, middle: str, source: str, other: str) -> str:
        return f"{tag}: {middle}, {source}, {other}"

    return Pipeline(
        [
            node(first, "source", "middle", name="make_middle"),
            node(pause, "middle", "paused", name="pause"),
            node(last, ["paused", "middle", "source", "other"], "result", name="make_result"),
        ]
    )


PLACES = ["while middle is made", "after middle is saved"]


def interleave(folder: Path, place: str, pin: bool, runner: Any = None) -> str:
    """Run session V1; at the place, another one, V2, makes new inputs and runs the whole chain. Return V1's result."""
    save(folder, V0, source="source 0", other="other 0")

    def other_session(now: str) -> None:
        if now == place:
            save(folder, V2, source="source 2", other="other 2")
            Session(folder, V2, pin).run(chain("V2"))

    Session(folder, V1, pin).run(chain("V1", other_session), runner)
    return load(folder, "result", V1)


@pytest.mark.parametrize("runner", [SequentialRunner, ThreadRunner])
@pytest.mark.parametrize("place", PLACES)
def test_a_session_sees_nothing_of_another_that_runs_at_the_same_time(tmp_path, place, runner):
    assert interleave(tmp_path, place, True, runner()) == "V1: middle of V1 from source 0, source 0, other 0"
    assert load(tmp_path, "result", V2) == "V2: middle of V2 from source 2, source 2, other 2"


@pytest.mark.filterwarnings("ignore:Save version")
@pytest.mark.parametrize("place", PLACES)
def test_without_the_hook_kedro_mixes_them(tmp_path, place):
    # That this fails would be good news: Kedro had learnt to pin versions, and the hook could go.
    assert interleave(tmp_path, place, False) != "V1: middle of V1 from source 0, source 0, other 0"


def test_a_version_that_is_asked_for_wins(tmp_path):
    for version, n in ((V0, 0), (V1, 1)):
        save(tmp_path, version, source=f"source {n}", other=f"other {n}")
    Session(tmp_path, V2, source=V0).run(chain("V2"))
    assert load(tmp_path, "result", V2) == "V2: middle of V2 from source 0, source 0, other 1"


@pytest.mark.filterwarnings("ignore:Save version")
def test_a_version_that_is_asked_for_wins_for_what_the_session_makes_too(tmp_path):
    save(tmp_path, V0, source="source 0", other="other 0", middle="middle 0")
    Session(tmp_path, V2, middle=V0).run(chain("V2"))
    assert load(tmp_path, "result", V2) == "V2: middle 0, source 0, other 0"


def test_part_of_a_pipeline_takes_the_newest_versions_of_the_rest(tmp_path):
    save(tmp_path, V0, source="source 0", other="other 0")
    Session(tmp_path, V1).run(chain("V1"))
    Session(tmp_path, V2).run(chain("V2").only_nodes("pause", "make_result"))
    assert load(tmp_path, "result", V2) == "V2: middle of V1 from source 0, source 0, other 0"


@pytest.mark.parametrize("existing", [True, False])
def test_only_missing_outputs_are_made_as_without_the_hook(tmp_path, existing):
    save(tmp_path, V0, source="source 0", other="other 0", **({"middle": "middle 0"} if existing else {}))
    Session(tmp_path, V2).run(chain("V2"), only_missing_outputs=True)
    middle = "middle 0" if existing else "middle of V2 from source 0"
    assert load(tmp_path, "result", V2) == f"V2: {middle}, source 0, other 0"


def test_a_missing_input_is_said_as_kedro_says_it(tmp_path):
    save(tmp_path, V0, source="source 0")
    with pytest.raises(DatasetError, match="Did not find any versions for"):
        Session(tmp_path, V1).run(chain("V1"))


def test_inputs_are_pinned_as_they_were_at_one_moment(tmp_path, monkeypatch):
    """Another session saves both inputs between the look at the first and the look at the second."""
    save(tmp_path, V0, source="source 0", other="other 0")
    inputs = {"source.json", "other.json"}
    list_versions = AbstractVersionedDataset.list_versions

    def look(self: Any, full_path: bool = True) -> list[str]:
        found = list_versions(self, full_path)
        if self._filepath.name in inputs:
            inputs.clear()
            save(tmp_path, V1, source="source 1", other="other 1")
        return found

    monkeypatch.setattr(AbstractVersionedDataset, "list_versions", look)
    Session(tmp_path, V2).run(chain("V2"))
    result = load(tmp_path, "result", V2)
    assert ("source 0" in result) == ("other 0" in result)


def test_the_kedro_that_is_installed_keeps_versions_as_the_hook_takes_it():
    dataset = JSONDataset(filepath="a.json", version=Version(None, V1))
    assert Version._fields == ("load", "save")
    assert dataset._version == Version(None, V1)
    versions._pin(dataset, V0)
    assert (dataset.resolve_load_version(), dataset.resolve_save_version()) == (V0, V1)
    assert versions._pinned(dataset) == V0


def test_another_kedro_is_refused_with_what_to_do(monkeypatch):
    monkeypatch.setattr(AbstractVersionedDataset, "resolve_load_version", lambda _: "the newest")
    dataset = JSONDataset(filepath="a.json", version=Version(None, V1))
    with pytest.raises(RuntimeError, match=r"does not take versions as Kedro 1\.7 did.*constraints\.txt"):
        versions._pin(dataset, V0)

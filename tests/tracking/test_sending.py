"""From the journal to a real sqlite store: all of it, once, whatever gets lost on the way."""

import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from bdpo_pipeline.tracking.journal import JOURNAL, WRITER_LOCK, Journal
from bdpo_pipeline.tracking.locks import lock
from bdpo_pipeline.tracking.progress import load_progress, read_refused
from bdpo_pipeline.tracking.run_store import open_store
from bdpo_pipeline.tracking.sending import UPLOAD_LOCK, Outcome, count_waiting, send_session
from bdpo_pipeline.tracking.settings import TrackingSettings

# What changes a store, and so may have been done although no answer came.
REQUESTS = {
    "create_run", "log_batch", "log_inputs", "log_artifact", "set_terminated", "create_logged_model", "log_model_artifacts",
    "finalize_logged_model", "log_outputs", "create_registered_model", "create_model_version",
}  # fmt: skip


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("store") / "mlflow.db"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> dict[str, Any]:
    """What `register` needs of an adapter and its base: files."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    (folder / "base_model.json").write_text("{}")
    paths = {"adapter": str(folder / "adapter"), "base_model": str(folder / "base_model.json")}
    return {**paths, "dtype": "float32", "quantisation": None}


@pytest.fixture
def configure(database, tmp_path) -> Callable[[str], TrackingSettings]:
    def configured(experiment: str) -> TrackingSettings:
        return TrackingSettings(
            tracking_uri=f"sqlite:///{database}",
            artifact_location=str(database.parent / "files" / experiment),
            spool=str(tmp_path / experiment),
            experiment=experiment,
            registered_model=experiment,
        )

    return configured


def record(configured: TrackingSettings, trained: dict[str, Any], session: str = "s") -> Journal:
    """A session with one of everything."""
    journal = Journal(session, configured)
    parent = journal.start_run(session, {"kedro.session": session})
    journal.log_parameters(parent, {f"group.{number}": str(number) for number in range(150)})
    child = journal.start_run("training", {"kedro.session": session}, parent)
    for step in range(1, 4):
        journal.log_metrics(child, [(step, {"train/loss": 1 / step, "train/odd": float("nan")})])
    journal.log_inputs(child, [data_set("pairs"), data_set("tokens")])
    journal.log_text(child, "hello", "greeting.txt")
    journal.register(child, trained, {"git.commit": "c0ffee"})
    journal.end_run(child, "FINISHED")
    journal.log_metrics(parent, [(0, {"heldout/accuracy": 0.5})])
    journal.log_json(parent, {"a": [1]}, "artifacts.json")
    journal.end_run(parent, "FAILED")
    journal.close()
    return journal


def data_set(name: str) -> dict[str, Any]:
    source = {"uri": f"/{name}"}
    return {
        "name": name,
        "digest": "d1",
        "source_type": "local",
        "source": source,
        "profile": {"rows": 3},
        "tags": {"mlflow.data.context": "training"},
    }


def copy_of(journal: Journal, configured: TrackingSettings) -> Path:
    """The same session, recorded for another experiment."""
    folder = Path(configured.spool) / journal.folder.name
    shutil.copytree(journal.folder, folder)
    head, rest = (folder / JOURNAL).read_text().split("\n", 1)
    changed = {"experiment": configured.experiment, "registered_model": configured.registered_model}
    (folder / JOURNAL).write_text(json.dumps({**json.loads(head), **changed}) + "\n" + rest)
    return folder


class Faulty:
    """A client whose requests are lost, as told, before or after the store has applied them."""

    def __init__(self, client: MlflowClient, fates: Iterator[str]) -> None:
        self._client = client
        self._fates = fates

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name not in REQUESTS:
            return method

        def request(*arguments: Any, **named: Any) -> Any:
            fate = next(self._fates, "answered")
            if fate == "lost":
                raise MlflowException("connection refused")
            answer = method(*arguments, **named)
            if fate == "answer lost":
                raise MlflowException("connection reset")
            return answer

        return request


def make_faulty(configured: TrackingSettings, fates: Iterator[str]) -> None:
    store = open_store(configured)
    client = MlflowClient(configured.tracking_uri, configured.tracking_uri)
    vars(store)["client"] = Faulty(client, fates)


@pytest.fixture
def undisturbed(configure, adapter, contents) -> tuple[Journal, dict[str, Any]]:
    """A session, and what MLflow has of it where nothing went wrong."""
    configured = configure(f"undisturbed {time.time_ns()}")
    journal = record(configured, adapter)
    kept = journal.folder.with_name("kept")
    shutil.copytree(journal.folder, kept)
    assert send_session(journal.folder, configured) == Outcome()
    kept.rename(journal.folder)
    return journal, contents(configured.tracking_uri, configured.experiment)


def test_everything_arrives_with_the_times_at_which_it_happened(undisturbed) -> None:
    journal, found = undisturbed
    assert found["training"]["parent"] == "s"
    assert (found["training"]["status"], found["s"]["status"]) == ("FINISHED", "FAILED")
    assert [step for step, _, _ in found["training"]["metrics"]["train/loss"]] == [1, 2, 3]
    assert len(found["training"]["metrics"]["train/odd"]) == 3
    assert len(found["s"]["params"]) == 150
    assert found["training"]["files"] == {"greeting.txt": b"hello"}
    assert found["training"]["tags"]["registered_model"].endswith("/1")
    assert found["versions"][0][0] == found["models"][0][0] == "training"
    assert found["s"]["tags"]["process.pid"] == str(json.loads(_head(journal))["pid"])
    times = [json.loads(line).get("at") for line in (journal.folder / JOURNAL).read_text().splitlines()]
    assert found["s"]["start"] == times[1]
    assert found["s"]["end"] == times[-1]
    assert {at for _, _, at in found["training"]["metrics"]["train/loss"]} <= set(times)


def _head(journal: Journal) -> str:
    return (journal.folder / JOURNAL).read_text().partition("\n")[0]


def unnamed(found: dict[str, Any]) -> dict[str, Any]:
    """The contents without the name of the registered model, which is the experiment's."""
    tags = dict(found["training"]["tags"])
    tags["registered_model"] = tags["registered_model"].rpartition("/")[2]
    return {**found, "training": {**found["training"], "tags": tags}}


def test_replaying_the_whole_journal_changes_nothing(undisturbed, configure, contents) -> None:
    journal, expected = undisturbed
    configured = configure(f"replayed {time.time_ns()}")
    for _ in range(3):
        folder = copy_of(journal, configured)
        assert send_session(folder, configured) == Outcome()
        assert not folder.exists()
    assert unnamed(contents(configured.tracking_uri, configured.experiment)) == unnamed(expected)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    fates=st.lists(st.sampled_from(["answered", "answered", "lost", "answer lost"]), max_size=40),
    forget=st.booleans(),
)
def test_whatever_gets_lost_the_end_is_the_same(undisturbed, configure, contents, fates, forget) -> None:
    journal, expected = undisturbed
    configured = configure(f"lossy {time.time_ns()}")
    folder = copy_of(journal, configured)
    make_faulty(configured, iter(fates))
    for _ in range(len(fates) + 1):
        outcome = send_session(folder, configured)
        if forget and folder.exists():
            (folder / "progress.json").unlink(missing_ok=True)  # as a power cut may leave it
    assert outcome == Outcome()
    assert unnamed(contents(configured.tracking_uri, configured.experiment)) == unnamed(expected)


def test_a_run_created_late_by_a_request_given_up_is_removed(undisturbed, configure, contents) -> None:
    journal, _ = undisturbed
    configured = configure(f"late {time.time_ns()}")
    folder = copy_of(journal, configured)
    lines = (folder / JOURNAL).read_text().splitlines(keepends=True)
    (folder / JOURNAL).write_text("".join(lines[:-1]))
    with lock(folder / WRITER_LOCK):  # still running
        assert send_session(folder, configured) == Outcome(open_runs=1)
    start = json.loads(lines[1])
    experiment_id = open_store(configured).experiment_id
    late = MlflowClient(configured.tracking_uri).create_run(
        experiment_id, tags={"tracking_id": start["run"]}, run_name="s"
    )
    with (folder / JOURNAL).open("a") as file:
        file.write(lines[-1])
    assert send_session(folder, configured) == Outcome()
    assert set(contents(configured.tracking_uri, configured.experiment)) == {
        "s",
        "training",
        "versions",
        "models",
    }
    assert MlflowClient(configured.tracking_uri).get_run(late.info.run_id).info.lifecycle_stage == "deleted"


def test_what_the_store_refuses_is_set_aside_and_can_be_tried_again(configure, contents, tmp_path) -> None:
    configured = configure(f"refused {time.time_ns()}")
    journal = Journal("s", configured)
    run = journal.start_run("s", {})
    journal.log_parameters(run, {"good": "1", "bad!": "2"})
    journal.log_metrics(run, [(step, {"loss": 1.0, "no|name": 2.0}) for step in range(3)])
    journal.register(
        run, {"adapter": str(tmp_path / "a"), "base_model": "b", "dtype": "x", "quantisation": None}, {}
    )
    journal.log_text(run, "kept", "later.txt")
    (copy,) = journal.folder.glob("files/*/later.txt")
    copy.rename(tmp_path / "later.txt")
    journal.set_tags(run, {"last": "yes"})
    journal.end_run(run, "FINISHED")
    journal.close()
    outcome = send_session(journal.folder, configured)
    assert outcome == Outcome(waiting=0, refused=4)
    reasons = [refused["reason"] for refused in read_refused(journal.folder)]
    assert "bad!" in reasons[0]
    assert "no|name" in reasons[1]
    assert "is gone, so the adapter cannot be registered" in reasons[2]
    found = contents(configured.tracking_uri, configured.experiment)["s"]
    assert found["params"] == {"good": "1"}
    assert [step for step, _, _ in found["metrics"]["loss"]] == [0, 1, 2]
    assert (found["tags"]["last"], found["status"], found["files"]) == ("yes", "FINISHED", {})

    (tmp_path / "later.txt").rename(copy)
    assert send_session(journal.folder, configured, refused_again=True) == Outcome(waiting=0, refused=3)
    assert contents(configured.tracking_uri, configured.experiment)["s"]["files"] == {"later.txt": b"kept"}


def test_a_dead_session_is_ended_when_it_last_wrote_and_a_live_one_is_not(configure, contents) -> None:
    configured = configure(f"dead {time.time_ns()}")
    journal = Journal("s", configured)
    parent = journal.start_run("s", {})
    journal.start_run("training", {}, parent)
    assert send_session(journal.folder, configured) == Outcome(open_runs=2)
    alive = contents(configured.tracking_uri, configured.experiment)
    assert {alive[name]["status"] for name in ("s", "training")} == {"RUNNING"}
    journal.close()  # as its death would
    last = int((journal.folder / JOURNAL).stat().st_mtime * 1000)
    time.sleep(0.05)
    assert send_session(journal.folder, configured) == Outcome()
    dead = contents(configured.tracking_uri, configured.experiment)
    assert {(dead[name]["status"], dead[name]["end"]) for name in ("s", "training")} == {("KILLED", last)}
    assert not journal.folder.exists()


def test_a_session_of_another_host_is_given_ten_minutes(configure, monkeypatch, contents) -> None:
    configured = configure(f"elsewhere {time.time_ns()}")
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    journal = Journal("s", configured)
    journal.start_run("s", {})
    journal.close()
    monkeypatch.undo()
    assert send_session(journal.folder, configured) == Outcome(open_runs=1)
    assert contents(configured.tracking_uri, configured.experiment)["s"]["status"] == "RUNNING"
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 601)
    assert send_session(journal.folder, configured) == Outcome()
    assert contents(configured.tracking_uri, configured.experiment)["s"]["status"] == "KILLED"


def test_two_uploaders_keep_apart(undisturbed, configure) -> None:
    journal, _ = undisturbed
    configured = configure(f"twice {time.time_ns()}")
    folder = copy_of(journal, configured)
    with lock(folder / UPLOAD_LOCK):
        outcome = send_session(folder, configured)
    assert outcome.reason == "another process is sending it"
    assert (outcome.waiting, outcome.outage) == (count_waiting(folder), False)


def test_a_session_goes_to_its_own_store_unless_that_has_moved(
    undisturbed, configure, database, contents
) -> None:
    journal, expected = undisturbed
    first = configure(f"first {time.time_ns()}")
    folder = copy_of(journal, first)
    make_faulty(first, iter(["answered"] * 5 + ["lost"]))
    assert send_session(folder, first).outage
    sent = load_progress(folder)
    assert sent.offset > 0
    other = first.model_copy(update={"tracking_uri": f"sqlite:///{database.parent}/./mlflow.db"})
    outcome = send_session(folder, other)
    assert "it was recorded for" in outcome.reason
    assert load_progress(folder) == sent
    assert send_session(folder, other, moved=True) == Outcome()
    found = contents(first.tracking_uri, first.experiment)
    assert found["training"]["metrics"] == expected["training"]["metrics"]
    assert len(found["versions"]) == 1


def test_a_locked_database_is_an_outage_at_once(undisturbed, configure, database) -> None:
    journal, _ = undisturbed
    configured = configure(f"locked {time.time_ns()}")
    folder = copy_of(journal, configured)
    connection = sqlite3.connect(database)
    connection.execute("BEGIN EXCLUSIVE")
    start = time.monotonic()
    outcome = send_session(folder, configured)
    assert time.monotonic() - start < 5
    connection.rollback()
    connection.close()
    assert outcome.outage
    assert "locked" in outcome.reason
    assert send_session(folder, configured) == Outcome()


def test_a_deleted_experiment_keeps_everything_waiting(undisturbed, configure) -> None:
    journal, _ = undisturbed
    configured = configure(f"deleted {time.time_ns()}")
    client = MlflowClient(configured.tracking_uri)
    experiment = client.create_experiment(configured.experiment)
    client.delete_experiment(experiment)
    folder = copy_of(journal, configured)
    outcome = send_session(folder, configured)
    assert not outcome.outage  # other sessions can be sent
    assert "active" in outcome.reason
    assert (outcome.waiting, outcome.refused) == (count_waiting(folder), 0)
    client.restore_experiment(experiment)
    assert send_session(folder, configured) == Outcome()

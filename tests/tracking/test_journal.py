"""The journal: whole lines, whatever happens; locks that end with their process."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdpo_pipeline.tracking.journal import JOURNAL, Journal, kill_open_runs, read_head, read_lines, sessions
from bdpo_pipeline.tracking.locks import lock, take
from bdpo_pipeline.tracking.progress import Progress, load_progress
from bdpo_pipeline.tracking.settings import TrackingSettings


def settings_in(folder: Path) -> TrackingSettings:
    return TrackingSettings(
        tracking_uri="http://me:secret@127.0.0.1:9",
        artifact_location=str(folder / "files"),
        spool=str(folder / "spool"),
        experiment="e",
        registered_model="m",
    )


@pytest.fixture
def journal(tmp_path) -> Journal:
    return Journal("2026-01-01", settings_in(tmp_path))


def entries(folder: Path) -> list[dict]:
    return [line.entry for line in read_lines(folder)]


def test_entries_come_back_in_order_and_files_as_they_were(journal, tmp_path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("before")
    parent = journal.start_run("session", {"a": "ä\n"})
    child = journal.start_run("training", {}, parent)
    journal.log_metrics(child, [(1, {"loss": float("nan"), "margin": 0.1}), (2, {})])
    journal.log_file(child, table, "arm")
    table.write_text("after")
    journal.end_run(child, "FINISHED")
    head, *rest = entries(journal.folder)
    assert head == read_head(journal.folder)
    assert (head["store"], head["pid"]) == ("http://***@127.0.0.1:9", os.getpid())
    assert [entry["do"] for entry in rest] == ["start", "start", "metrics", "file", "end"]
    assert rest[0]["tags"] == {"a": "ä\n"}
    assert rest[1]["parent"] == rest[0]["run"] == parent
    assert str(rest[2]["points"]) == "[[1, {'loss': nan, 'margin': 0.1}]]"
    assert (journal.folder / rest[3]["file"]).read_text() == "before"
    assert "secret" not in (journal.folder / JOURNAL).read_text()


def test_what_is_empty_is_no_entry(journal) -> None:
    journal.log_metrics("run", [(1, {})])
    journal.log_parameters("run", {})
    journal.set_tags("run", {})
    journal.log_inputs("run", [])
    assert len(entries(journal.folder)) == 1


@given(st.data())
def test_a_journal_cut_anywhere_has_its_whole_lines_and_can_be_ended(tmp_path_factory, data) -> None:
    folder = tmp_path_factory.mktemp("cut")
    journal = Journal("s", settings_in(folder))
    runs = [journal.start_run(f"run {number}", {}) for number in range(2)]
    journal.log_metrics(runs[0], [(1, {"loss": 1.0})])
    journal.end_run(runs[0], "FINISHED")
    journal.close()
    file = journal.folder / JOURNAL
    whole = file.read_bytes()
    before = entries(journal.folder)
    cut = data.draw(st.integers(0, len(whole)))
    file.write_bytes(whole[:cut])
    kept = whole[:cut].count(b"\n")
    assert entries(journal.folder) == before[:kept]
    kill_open_runs(journal.folder)
    after = entries(journal.folder)
    assert after[:kept] == before[:kept]
    started = {entry["run"] for entry in after if entry["do"] == "start"}
    ends = {entry["run"]: entry["status"] for entry in after if entry["do"] == "end"}
    assert ends.keys() == started
    assert {status for run, status in ends.items() if run != runs[0]} <= {"KILLED"}
    kill_open_runs(journal.folder)
    assert entries(journal.folder) == after


def test_threads_do_not_mix_lines(journal) -> None:
    def write(number: int) -> None:
        for step in range(200):
            journal.log_metrics(str(number), [(step, {"name": 0.5})])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [(entry["run"], entry["points"][0][0]) for entry in entries(journal.folder)[1:]]
    assert sorted(found) == sorted((str(number), step) for number in range(4) for step in range(200))


def test_a_full_disk_leaves_no_half_line(journal, tmp_path) -> None:
    """The limit on the size of files fails a write half-way, as a full disk does."""
    script = """
import resource, signal
from pathlib import Path
from tests_settings import settings
from bdpo_pipeline.tracking.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal("full", settings)
journal.set_tags("run", {"first": "x"})
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    journal.set_tags("run", {"long": "x" * 5000})
except OSError as error:
    print(error)
journal.set_tags("run", {"last": "x"})
"""
    (tmp_path / "tests_settings.py").write_text(
        "from bdpo_pipeline.tracking.settings import TrackingSettings\n"
        f"settings = TrackingSettings(**{settings_in(tmp_path).model_dump()!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "File too large" in done.stdout
    tags = [list(entry["values"]) for entry in entries(journal.folder.with_name("full"))[1:]]
    assert tags == [["first"], ["last"]]


def test_a_line_that_is_no_entry_does_not_hide_the_next(journal) -> None:
    with (journal.folder / JOURNAL).open("ab") as file:
        file.write(b'\xff{"do"\n')
    journal.set_tags("run", {"a": "b"})
    assert [entry["do"] for entry in entries(journal.folder)] == ["session", "unreadable", "tags"]


def test_a_session_has_its_folder_alone(journal, tmp_path) -> None:
    with pytest.raises(FileExistsError):
        Journal("2026-01-01", settings_in(tmp_path))
    assert sessions(tmp_path / "spool") == [journal.folder]
    assert sessions(tmp_path / "nowhere") == []


def test_a_lock_ends_with_its_process(tmp_path) -> None:
    path = tmp_path / "lock"
    script = (
        "import sys, time; from pathlib import Path; from bdpo_pipeline.tracking.locks import take; "
        "held = take(Path(sys.argv[1])); print(held is not None, flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "True\n"
    with lock(path) as held:
        assert not held
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock(path) as held:
        assert held
        assert take(path) is None
    assert take(tmp_path / "gone" / "lock") is None


def test_progress_that_a_power_cut_took_counts_as_none(tmp_path) -> None:
    progress = Progress("store", 7, "1", {"a": "b"}, ["a"])
    progress.save(tmp_path)
    assert load_progress(tmp_path) == progress
    [file] = [path for path in tmp_path.iterdir() if json.loads(path.read_text())["offset"] == 7]
    file.write_text("")
    assert load_progress(tmp_path) is None

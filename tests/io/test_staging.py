"""What is staged appears whole or not at all, whatever happens on the way."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kedro.io import DatasetError

from bdpo_pipeline.disk_space import NoSpaceError
from bdpo_pipeline.io.staging import staged

HANGS = """
import sys, time
from pathlib import Path
from bdpo_pipeline.io.staging import staged
with staged(Path(sys.argv[1]), versioned=True) as partial:
    partial.write_text("half of it")
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def hanging_save():
    """`hanging_save(target)` starts a process that is in the middle of saving a version."""
    processes = []

    def start(target: Path) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HANGS, str(target)], stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def save(target: Path, text: str, versioned: bool = True) -> None:
    with staged(target, versioned=versioned) as partial:
        partial.write_text(text)


def files(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_the_target_is_not_there_before_it_is_whole(tmp_path):
    target = tmp_path / "a.txt" / "v1" / "a.txt"
    with staged(target, versioned=True) as partial:
        partial.write_text("half")
        assert not target.exists()
        # One level too deep for Kedro, which looks for <data set>/<version>/<name>.
        assert list((tmp_path / "a.txt").glob("*/a.txt")) == []
        partial.write_text("whole")
    assert files(tmp_path) == {"a.txt/v1/a.txt": "whole"}


def test_an_error_leaves_nothing_behind(tmp_path):
    save(tmp_path / "a.txt/v1/a.txt", "first")

    def fail() -> None:
        with staged(tmp_path / "a.txt/v2/a.txt", versioned=True) as partial:
            partial.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert files(tmp_path) == {"a.txt/v1/a.txt": "first"}
    assert [folder.name for folder in (tmp_path / "a.txt").iterdir()] == ["v1"]
    save(tmp_path / "a.txt/v2/a.txt", "second")
    assert files(tmp_path)["a.txt/v2/a.txt"] == "second"


@pytest.mark.parametrize("content", ["file", "folder"])
def test_without_versions_the_old_content_stays_until_the_new_is_whole(tmp_path, content):
    target = tmp_path / "data" / "thing"

    def write(place: Path, text: str) -> None:
        if content == "folder":
            place.mkdir()
            (place / text).write_text(text)
        else:
            place.write_text(text)

    for text in ("old", "new"):
        with staged(target, versioned=False) as partial:
            write(partial, text)
            assert list(
                files(tmp_path / "data" / "thing").values() if target.is_dir() else files(tmp_path)
            ) != [text]
    assert list(files(tmp_path).values()) == ["new"]


def test_a_killed_save_leaves_no_version_and_the_next_save_removes_what_it_left(tmp_path, hanging_save):
    store = tmp_path / "a.txt"
    process = hanging_save(store / "v1" / "a.txt")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(files(store).values()) != []
    assert list(store.glob("*/a.txt")) == []
    save(store / "v2" / "a.txt", "whole")
    assert files(store) == {"v2/a.txt": "whole"}
    assert [folder.name for folder in store.iterdir()] == ["v2"]


def test_a_save_under_way_in_another_process_is_left_alone(tmp_path, hanging_save):
    store = tmp_path / "a.txt"
    hanging_save(store / "v1" / "a.txt")
    save(store / "v2" / "a.txt", "whole")
    assert "half of it" in files(store).values()


def test_two_runs_of_the_same_millisecond_do_not_share_a_version(tmp_path, hanging_save):
    target = tmp_path / "a.txt" / "2026-01-01T00.00.00.000Z" / "a.txt"
    hanging_save(target)
    with pytest.raises(DatasetError, match=r"started in the same millisecond .* Start this run again"):
        save(target, "mine")
    assert not target.exists()
    assert list(files(tmp_path).values()) != []


def test_content_is_durable_before_it_has_its_name_and_the_name_before_saving_returns(tmp_path, monkeypatch):
    target = tmp_path / "new" / "model" / "v1" / "model"
    synced: list[tuple[str, bool]] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), target.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    with staged(target, versioned=True) as partial:
        partial.mkdir()
        (partial / "weights").write_text("w")
    before = {path.rpartition("/model/v1/")[2].partition("/")[2] for path, there in synced if not there}
    after = [path for path, there in synced if there]
    assert before == {"model", "model/weights"}
    assert after == [str(target.parent), str(tmp_path / "new/model"), str(tmp_path / "new"), str(tmp_path)]


def test_a_full_disk_says_where_and_how_much_and_leaves_what_was_there(small_disk):
    disk = small_disk(400_000)
    save(disk / "a.txt/v1/a.txt", "first")
    message = r"no space left for .*/a\.txt: [\d,]+ bytes are free there .* and 900,000 bytes are needed\. .* run the same command again"
    with (
        pytest.raises(NoSpaceError, match=message),
        staged(disk / "a.txt/v2/a.txt", versioned=True, needed=900_000) as partial,
    ):
        partial.write_bytes(bytes(900_000))
    assert files(disk) == {"a.txt/v1/a.txt": "first"}
    assert [folder.name for folder in (disk / "a.txt").iterdir()] == ["v1"]
    save(disk / "a.txt/v2/a.txt", "second")
    assert len(files(disk)) == 2


def test_saves_of_many_processes_at_once_all_arrive(tmp_path):
    code = (
        "import sys; from pathlib import Path; from bdpo_pipeline.io.staging import staged\n"
        "for n in range(40):\n"
        "    target = Path(sys.argv[1]) / f'{sys.argv[2]}-{n:02}' / 'a.txt'\n"
        "    with staged(target, versioned=True) as partial: partial.write_text(target.parent.name)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a.txt"), str(n)]) for n in range(3)
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    found = files(tmp_path / "a.txt")
    assert found == {f"{n}-{i:02}/a.txt": f"{n}-{i:02}" for n in range(3) for i in range(40)}

"""Who removes the folder of a finished job that several runs have taken."""

import subprocess
import sys

import pytest

from bdpo_pipeline.engine.taken import Taken

HOLDER = """
import sys, time
from pathlib import Path
from bdpo_pipeline.engine.taken import Taken
taken = Taken(Path(sys.argv[1]))
print("taken", flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train-1" / "adapter").mkdir(parents=True)
    return tmp_path / "train-1"


@pytest.fixture
def holder(folder):
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "taken\n"
        yield process
        process.kill()


def test_it_stays_while_another_process_uses_it(folder, holder):
    Taken(folder).remove_folder()
    assert (folder / "adapter").exists()


def test_a_process_that_was_killed_uses_it_no_more(folder, holder, tmp_path):
    holder.kill()
    holder.wait()
    Taken(folder).remove_folder()
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_forgotten_is_given_up(folder):
    forgotten = Taken(folder)
    mine = Taken(folder)
    del forgotten
    mine.remove_folder()
    assert not folder.exists()


def test_a_folder_that_is_gone_is_no_error(folder, tmp_path):
    taken = Taken(folder)
    Taken(folder).remove_folder()
    assert (folder / "adapter").exists()
    taken.remove_folder()
    taken.remove_folder()
    assert list(tmp_path.iterdir()) == []

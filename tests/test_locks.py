"""Folders that one run at a time works in, by real processes and by threads."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from bdpo_pipeline.locks import alone

HOLDER = """
import sys, time
from pathlib import Path
from bdpo_pipeline.locks import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_folder_is_anothers_until_that_is_gone_however_it_ends(tmp_path):
    folder = tmp_path / "job-1.5"
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with alone(folder, wait=False) as mine:
            assert not mine
        with alone(tmp_path / "job-1.6", wait=False) as mine:
            assert mine
        holder.kill()
    with alone(folder, wait=False) as mine:
        assert mine
    assert list(tmp_path.iterdir()) == []


def test_no_two_are_in_at_once_though_each_takes_the_lock_file_away(tmp_path):
    inside, most = 0, 0

    def enter(_):
        nonlocal inside, most
        with alone(tmp_path / "job"):
            inside += 1
            most = max(most, inside)
            (tmp_path / "job").mkdir()  # fails if it is there
            (tmp_path / "job").rmdir()
            inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(400)))
    assert most == 1
    assert list(tmp_path.iterdir()) == []

"""What an artifact depends on says the same in every process."""

import json
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from bdpo_pipeline.lineage.recipe import plain

_PRINT = """
import json
from kedro.io import MemoryDataset
from bdpo_pipeline.lineage.recipe import plain
print(json.dumps(plain("made_up.dataset", MemoryDataset(copy_mode="assign")._init_args)))
"""


def test_a_data_set_in_memory_is_the_same_in_another_process():
    said = {
        subprocess.run([sys.executable, "-c", _PRINT], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    }
    assert len(said) == 1
    assert json.loads(said.pop())["copy_mode"] == "assign"


def test_an_object_without_words_of_its_own_is_told_by_its_type():
    class Plain:
        pass

    assert plain("one", [Plain()]) == plain("one", [Plain()])
    assert "Plain" in plain("one", [Plain()])[0]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_plain_values_stay_what_they_are(value):
    assert plain("one", value) == value

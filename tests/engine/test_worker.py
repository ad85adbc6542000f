"""What a worker process imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path
from bdpo_pipeline.engine.jobs import Compute, ScoreJob
from bdpo_pipeline.engine.worker import leave_out_unused
leave_out_unused(ScoreJob(sys.argv[1], Compute(quantisation=None if sys.argv[2] == "None" else sys.argv[2])))
import peft
print("bitsandbytes.nn" in sys.modules)
"""


@pytest.mark.parametrize(
    ("quantisation", "config", "imported"),
    [(None, {}, "False"), ("nf4", {}, "True"), (None, {"quantization_config": {}}, "True")],
)
def test_bitsandbytes_is_imported_only_where_weights_are_quantised(
    quantisation, config, imported, tmp_path: Path
):
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(quantisation)]
    assert subprocess.check_output(command, text=True).splitlines()[-1] == imported

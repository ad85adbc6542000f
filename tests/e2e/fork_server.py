"""Runs Kedro commands in forks of a process that has imported the heavy libraries, and nothing of the project.

Each command so starts with the project's own code unread, as in a process of its own, but without the seconds that libraries take.
Read from stdin, one JSON object a line: `arguments` and `path`, a folder to put first on the path or null; answered by an exit status.
"""

import json
import os
import sys

import kedro.framework.cli
import kedro_datasets.pandas
import kedro_datasets.plotly
import numpy
import peft
import plotly.graph_objects
import pyarrow.parquet
import scipy.stats
import torch
import transformers

LIBRARIES = (
    kedro_datasets.pandas,
    kedro_datasets.plotly,
    numpy,
    peft,
    plotly.graph_objects,
    pyarrow.parquet,
    scipy.stats,
    torch,
    transformers,
)


def run(arguments: list[str], path: str | None) -> None:
    if path is not None:
        sys.path.insert(0, path)
        os.environ["PYTHONPATH"] = path
    sys.argv = ["kedro", *arguments]
    kedro.framework.cli.main()


def main() -> None:
    assert not any(name.startswith("bdpo_pipeline") for name in sys.modules)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(**json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


main()

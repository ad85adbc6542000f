"""Every estimator of comprehension on the same real pairs, on the default model, and where the exact answer is known.

    make .venv/.development && .venv/bin/python benchmarks/comprehension/estimators.py

Run from the project root. Selects pairs as the default run does (`kedro run` up to `tokenised_pairs`), scores both responses of 128 of
them after their query and in 1 + 1 + 16 other contexts, and writes `docs/results/estimators.md` and `docs/figures/contrastive.svg`.
Two cores take about half an hour; log-probs are kept under data_root as they come, so a run that was cut off goes on where it was.
"""

import argparse
import shlex
import sys
from pathlib import Path

from figure import draw
from known import measure_known
from measure import ROOT, measure, prepare
from page import write_page
from summary import summarise


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pairs", type=int, default=128, help="training pairs with exactly one safe response"
    )
    parser.add_argument("--queries", type=int, default=16, help="most other queries of `contrastive`")
    parser.add_argument("--data-root", type=Path, default=ROOT / "data")
    parser.add_argument("--env", default="local", help="local: the embedded model; test: a tiny one")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of results/ and figures/")
    options = parser.parse_args()
    setup = prepare(options.data_root.resolve(), options.env, options.pairs)
    measured = measure(setup, options.queries)
    summaries, known = summarise(measured), measure_known()
    arguments = [f"--pairs={options.pairs}", f"--queries={options.queries}"]
    command = shlex.join(["python", "benchmarks/comprehension/estimators.py", *arguments])
    page, figure = options.out / "results" / "estimators.md", options.out / "figures" / "contrastive.svg"
    for path in (page, figure):
        path.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(write_page(command, setup, measured, summaries, known))
    draw(figure, known, summaries, setup.base_model["name"])
    return 0


if __name__ == "__main__":
    sys.exit(main())

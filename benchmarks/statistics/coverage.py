"""How often intervals of differences between equal arms leave out 0, by number of seeds and by how much seeds differ.

python benchmarks/statistics/coverage.py --studies 500 --page docs/results/interval_coverage.md
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np

from bdpo_pipeline.statistics import paired_difference, sign_flip_exact

RESAMPLES = 500
HEADER = """# What the intervals of a study cover, simulated

Made by `python benchmarks/statistics/coverage.py --studies {studies}`: two equal arms answer the same prompts, and the share of
studies is counted in which a difference is claimed at p < 0.05, before any correction. It should be 5 %.

An answer is right with a logit that is the sum of the prompt's (standard deviation 1.5), the prompt's for this arm (0.7) and the
seed's for this arm ("spread"). Half of the answers are right. The last column is what a spread comes to: the standard
deviation of an arm's share over seeds, in points, prompts being the same.

"These models" is the interval of resampled prompts alone; "McNemar" the exact sign-flip test over prompts; "both" what a claim of
the report needs: bootstrap and McNemar. {resamples} resamples. The standard error of a share of 5 % is {error:.1f} points.

| prompts | seeds | spread | difference, new seeds too | these models | McNemar | both | sd over seeds |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def answers(rng: np.random.Generator, prompts: np.ndarray, seeds: int, spread: float) -> np.ndarray:
    """Draw one arm's outcomes, ``[prompts, seeds]``."""
    logits = prompts[:, None] + rng.normal(0, 0.7, (len(prompts), 1)) + rng.normal(0, spread, (1, seeds))
    return (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)


def claims(rng: np.random.Generator, prompts: int, seeds: int, spread: float, number: int) -> list[bool]:
    """Return which tests claim a difference in one study."""
    base = rng.normal(0, 1.5, prompts)
    first, second = (answers(rng, base, seeds, spread) for _ in range(2))
    asked = {"seed": number, "bounds": (-1.0, 1.0), "resamples": RESAMPLES}
    new = paired_difference(first, second, range(prompts), **asked).p
    means = (arm.mean(axis=1, keepdims=True) for arm in (first, second))
    same = paired_difference(*means, range(prompts), **asked).p
    exact = sign_flip_exact(np.rint((first - second).sum(axis=1)))
    return [new < 0.05, same < 0.05, exact < 0.05, max(new, exact) < 0.05]


def spread_in_points(rng: np.random.Generator, spread: float) -> float:
    """Return the standard deviation of an arm's share over 400 seeds on many prompts."""
    share = answers(rng, rng.normal(0, 1.5, 4000), 400, spread).mean(axis=0)
    return 100 * float(share.std(ddof=1))


def main() -> None:
    """Simulate every case and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=500, help="simulated studies of each case")
    parser.add_argument("--page", type=Path, required=True, help="the Markdown file to write")
    asked = parser.parse_args()
    error = 100 * (0.05 * 0.95 / asked.studies) ** 0.5
    text = HEADER.format(studies=asked.studies, resamples=RESAMPLES, error=error)
    for prompts, seeds, spread in product((100, 300), (1, 2, 3), (0, 0.15, 0.3, 0.6)):
        # With one seed, a spread is nothing that any interval of it could know of.
        if seeds == 1 and spread:
            continue
        rng = np.random.default_rng(1)
        found = np.mean([claims(rng, prompts, seeds, spread, n) for n in range(asked.studies)], axis=0)
        cells = " | ".join(f"{100 * share:.1f} %" for share in found)
        points = spread_in_points(rng, spread)
        text += f"| {prompts} | {seeds} | {spread} | {cells} | {points:.1f} |\n"
        print(text.splitlines()[-1], flush=True)
    asked.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

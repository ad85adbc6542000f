"""How often equal arms are told apart: two of them, and a whole study of them, by number of seeds and by how much seeds differ.

python benchmarks/statistics/coverage.py --studies 500 --page docs/results/interval_coverage.md
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from bdpo_pipeline.statistics import paired_difference, sign_flip_exact
from bdpo_pipeline.study.contrasts import add_holm, measure_arms
from bdpo_pipeline.study.measures import Measure

RESAMPLES = 500
FAMILY_PROMPTS, FAMILY_RESAMPLES = 200, 1000
HEADER = """# What the intervals of a study cover, simulated

Made by `python benchmarks/statistics/coverage.py --studies {studies} --families {families}`: two equal arms answer the same
prompts, and the share of studies is counted in which a difference is claimed at p < 0.05, before any correction. It should be 5 %.

An answer is right with a logit that is the sum of the prompt's (standard deviation 1.5), the prompt's for this arm (0.7) and the
seed's for this arm ("spread"). Half of the answers are right. The last column is what a spread comes to: the standard
deviation of an arm's share over seeds, in points, prompts being the same.

"These models" is the interval of resampled prompts alone; "McNemar" the exact sign-flip test over prompts; "both" what a claim of
the report needs: bootstrap and McNemar. {resamples} resamples. The standard error of a share of 5 % is {error:.1f} points.

| prompts | seeds | spread | difference, new seeds too | these models | McNemar | both | sd over seeds |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""

FAMILIES = """
## Studies of many arms

Made by the same command: all arms of a study are equal, each is compared with one of them on {prompts} prompts, and Holm's
correction is made as the report makes it ({resamples} resamples). Counted is the share of {studies} studies in which any arm is
claimed to differ; it should be 5 % at most. "Alone" is what it would be if each pair of arms had to tell by its own seeds how much
seeds differ; "pooled", as in a report, all arms tell it together. "Found" is the share of studies in which an arm that is really
better, by one logit (some 14 points), is found among the equal ones.

| other arms | seeds | spread | any claim, alone | any claim, pooled | found, alone | found, pooled |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: |
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


def study(
    rng: np.random.Generator, others: int, seeds: int, spread: float, better: float
) -> dict[str, pd.DataFrame]:
    """Draw the outcomes of a baseline and so many other arms, the first of them better by so many logits."""
    prompts = rng.normal(0, 1.5, FAMILY_PROMPTS)
    shifts = [0.0, better, *[0.0] * (others - 1)]
    return {
        f"arm{n}": pd.DataFrame(answers(rng, prompts + shift, seeds, spread))
        for n, shift in enumerate(shifts)
    }


def claimed(arms: dict[str, pd.DataFrame], number: int, pooled: bool) -> set[str]:
    """Return the arms that a report would claim to differ from the first, with seeds pooled over arms or not."""
    first, *others = arms
    found = []
    for group in [others] if pooled else [[other] for other in others]:
        tables = {arm: arms[arm] for arm in (first, *group)}
        items = [str(place) for place in range(FAMILY_PROMPTS)]
        measure = Measure("refusals", "one", "refuse", None, "higher", (0.0, 1.0), True, tables, items)
        contrasts = [(arm, first) for arm in group]
        _, differences = measure_arms(
            measure, list(tables), contrasts, seed=number, resamples=FAMILY_RESAMPLES, rewards={}
        )
        found += [{"arm": arm, "family": "one"} | differences[arm, first] for arm in group]
    table = add_holm(pd.DataFrame(found), ["family"])
    return set(table.loc[table["p_holm"] < 0.05, "arm"])


def family_row(studies: int, others: int, seeds: int, spread: float) -> str:
    """Simulate studies of equal arms, and of one better arm among equal ones; return the row of the table."""
    rng = np.random.default_rng(2)
    equal = [study(rng, others, seeds, spread, 0.0) for _ in range(studies)]
    unequal = [study(rng, others, seeds, spread, 1.0) for _ in range(studies)]
    shares = [
        np.mean([bool(claimed(arms, number, pooled)) for number, arms in enumerate(equal)])
        for pooled in (False, True)
    ]
    shares += [
        np.mean(["arm1" in claimed(arms, number, pooled) for number, arms in enumerate(unequal)])
        for pooled in (False, True)
    ]
    return f"| {others} | {seeds} | {spread} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |\n"


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
    parser.add_argument(
        "--families", type=int, default=100, help="simulated studies of many arms, of each case"
    )
    parser.add_argument("--page", type=Path, required=True, help="the Markdown file to write")
    asked = parser.parse_args()
    error = 100 * (0.05 * 0.95 / asked.studies) ** 0.5
    text = HEADER.format(studies=asked.studies, families=asked.families, resamples=RESAMPLES, error=error)
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
    text += FAMILIES.format(prompts=FAMILY_PROMPTS, resamples=FAMILY_RESAMPLES, studies=asked.families)
    for others, seeds, spread in product((6, 12), (2, 3), (0, 0.15, 0.3, 0.6)):
        text += family_row(asked.families, others, seeds, spread)
        print(text.splitlines()[-1], flush=True)
    asked.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""Tests of paired outcomes, and what several tests at once ask for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def mcnemar_exact(gained: int, lost: int) -> float:
    """Return the two-sided p-value of McNemar's exact test for paired true-or-false outcomes.

    Under no change, each prompt whose outcome differs is as likely gained as lost: a binomial test.
    Source: Q. McNemar, Psychometrika 12 (1947); exact form in Agresti, "Categorical Data Analysis", 11.1.

    Args:
        gained: prompts that went from false to true.
        lost: prompts that went from true to false.

    Raises:
        ValueError: if a count is negative.
    """
    from scipy.stats import binomtest

    if gained == lost == 0:
        return 1.0
    return float(binomtest(gained, gained + lost, 0.5).pvalue)


def sign_flip_exact(differences: "Sequence[int] | NDArray[np.int64]") -> float:
    """Return the two-sided p-value of the exact sign-flip test: could the sum be that far from 0 if every sign were a coin toss?

    It is McNemar's exact test for prompts with several outcomes each, such as one a seed: exchange the two arms, and the difference
    of a prompt, summed over its seeds, turns its sign as a whole. With one outcome a prompt it is :func:`mcnemar_exact`. Source: the
    randomisation test of E. J. G. Pitman, JRSS Supplement 4 (1937), with the prompt as the unit; the distribution is convolved, not
    sampled.

    Args:
        differences: one integer a prompt: outcomes that only the one arm has minus those that only the other has.
    """
    import numpy as np
    from scipy.stats import binom

    whole = np.asarray(differences, dtype=np.int64)
    sizes, prompts = np.unique(np.abs(whole[whole != 0]), return_counts=True)
    distribution = np.ones(1)
    for size, number in zip(sizes.tolist(), prompts.tolist(), strict=True):
        # The sum of `number` signs lies on every second integer, and each is `size` large.
        steps = np.zeros(2 * size * number + 1)
        steps[:: 2 * size] = binom.pmf(np.arange(number + 1), number, 0.5)
        distribution = np.convolve(distribution, steps)
    reach = len(distribution) // 2
    far = np.abs(np.arange(-reach, reach + 1)) >= abs(int(whole.sum()))
    return min(1.0, float(distribution[far].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted so that the chance of any false claim in the family stays below the level.

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979).

    Args:
        p_values: of one family; NaN where there was nothing to test, which stays NaN and does not count.
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p == p)
    adjusted, largest = [float("nan")] * len(p_values), 0.0
    for rank, (p, place) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        adjusted[place] = largest
    return adjusted

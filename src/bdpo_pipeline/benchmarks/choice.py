"""Which prompts or items of a set are used, where not all are."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def choose_prompts(
    prompts: "pd.DataFrame", numbers: Mapping[str, int | None], *, seed: int
) -> "pd.DataFrame":
    """Return the rows of ``prompts`` that are answered, in their order; see :func:`choose_places`.

    Args:
        prompts: ``evaluation_prompts``.
        numbers: prompts of each set; null for all of it. A set that is not named is not answered.
        seed: of the choice.

    Raises:
        ValueError: a named set does not exist.
    """
    known = prompts["prompt_set"].unique().tolist()
    for name in numbers:
        if name not in known:
            raise ValueError(
                f"generation.prompts names the set {name!r}; evaluation_prompts has: {', '.join(known)}"
            )
    places = choose_places(list(prompts["prompt_id"]), list(prompts["prompt_set"]), numbers, seed=seed)
    return prompts.iloc[places].reset_index(drop=True)


def choose_places(
    ids: Sequence[str], sets: Sequence[str], numbers: Mapping[str, int | None], *, seed: int
) -> list[int]:
    """Return the places of what is chosen, ascending.

    The choice ranks by a hash of seed and id: a larger number only adds to it, and sets do not influence each other.

    Args:
        ids: of the prompts or items.
        sets: the set of each.
        numbers: how many of each set; None for all of it. A set that is not named has no part.
        seed: of the choice.
    """
    taken: Counter[str] = Counter()
    chosen = []
    ranks = [hashlib.sha256(f"{seed}/{name}".encode()).hexdigest() for name in ids]
    for place in sorted(range(len(ids)), key=lambda i: ranks[i]):
        number = numbers.get(sets[place], 0)
        if number is None or taken[sets[place]] < number:
            taken[sets[place]] += 1
            chosen.append(place)
    return sorted(chosen)

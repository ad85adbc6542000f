"""Which prompts or items of a set are used, where not all are."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    import pandas as pd

# How many prompts of each set; null for all of it. A set that is not named, or with 0, is not answered.
PromptNumbers = dict[str, Annotated[int, Field(ge=0)] | None]


class UnknownPromptSetError(ValueError):
    """Prompts are asked for of a set that does not exist."""


def check_sets(numbers: Mapping[str, int | None], known: Collection[str], *, parameter: str) -> None:
    """Check that every set of which prompts are asked for exists; one with 0 need not.

    Args:
        numbers: as in :func:`choose_prompts`.
        known: names of the sets.
        parameter: what gives the numbers, for the message.

    Raises:
        UnknownPromptSetError: a set does not exist.
    """
    for name, number in numbers.items():
        if number != 0 and name not in known:
            raise UnknownPromptSetError(
                f"{parameter} asks for prompts of the set {name!r}; ingestion.evaluation_prompts has: {', '.join(known)}. Name the set "
                f"there, or set {parameter}.{name} to 0, which leaves it out also where conf/base asks for it"
            )


def choose_prompts(
    prompts: "pd.DataFrame", numbers: Mapping[str, int | None], *, seed: int, parameter: str
) -> "pd.DataFrame":
    """Return the rows of ``prompts`` that are answered, in their order; see :func:`choose_places`.

    Args:
        prompts: ``evaluation_prompts``.
        numbers: prompts of each set; null for all of it. A set that is not named is not answered.
        seed: of the choice.
        parameter: what gives the numbers, for the message.

    Raises:
        UnknownPromptSetError: see :func:`check_sets`.
    """
    check_sets(numbers, prompts["prompt_set"].unique().tolist(), parameter=parameter)
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

"""Which prompts of a set are answered, where not all are."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def choose_prompts(
    prompts: "pd.DataFrame", numbers: Mapping[str, int | None], *, seed: int
) -> "pd.DataFrame":
    """Return the rows of ``prompts`` that are answered, in their order.

    The choice ranks prompts by a hash of seed and id: a larger number only adds prompts, and sets do not influence each other.

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
    ranks = prompts["prompt_id"].map(lambda i: hashlib.sha256(f"{seed}/{i}".encode()).hexdigest())
    ordered = prompts.assign(rank=ranks).sort_values("rank")
    place = ordered.groupby("prompt_set").cumcount()
    bound = ordered["prompt_set"].map(
        {name: len(prompts) if count is None else count for name, count in numbers.items()}
    )
    return prompts.loc[ordered.index[place < bound.fillna(0)].sort_values()].reset_index(drop=True)

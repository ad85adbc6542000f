"""What a study chooses: the prompts and pairs that it looks at, and the point of the grid that an arm goes on with."""

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from bdpo_pipeline.benchmarks.ability_items import ResponseItem


# The share of a trial's answers that the judge must have rated; of the others nothing is known.
_LEAST_JUDGED = 0.9


def validation_prompts(pairs: "pd.DataFrame", number: int, *, seed: int) -> "pd.DataFrame":
    """Return prompts that ask for what a response may be unsafe to, in the columns of `evaluation_prompts`.

    Args:
        pairs: validation pairs, with their labels.
        number: of prompts, at most.
        seed: of the choice, which ranks prompts by a hash.

    Raises:
        ValueError: no validation pair has an unsafe response to a single user turn.
    """
    import pandas as pd

    unsafe = pairs[(pairs["chosen_is_safe"] == False) | (pairs["rejected_is_safe"] == False)]  # noqa: E712
    texts = {
        prompt[0]["content"]
        for prompt in unsafe["prompt"]
        if len(prompt) == 1 and prompt[0]["role"] == "user"
    }
    if not texts:
        raise ValueError(
            "no validation pair has a response labelled unsafe to a prompt of one user turn, and arms are tuned on such prompts: "
            "raise filtering.split.validation_share, filtering.validation.max_pairs or unsafe_query_share"
        )
    chosen = sorted(texts, key=lambda text: _rank(seed, text))[:number]
    return pd.DataFrame(
        {
            "prompt_id": [f"validation/{number:04}" for number in range(1, len(chosen) + 1)],
            "prompt_set": "validation",
            "prompt": chosen,
            "category": None,
            "desired": "refuse",
            "goal": None,
        }
    )


def validation_responses(
    responses: Sequence["ResponseItem"], compared: Collection[str], number: int, *, seed: int
) -> list["ResponseItem"]:
    """Return helpful responses to tune by: none that arms are compared by.

    Args:
        responses: all there are.
        compared: ids of those that arms are compared by.
        number: how many, at most.
        seed: of the choice, which ranks them by a hash.

    Raises:
        ValueError: none is left.
    """
    left = [item for item in responses if item.item_id not in compared]
    if not left:
        raise ValueError(
            f"all {len(responses)} helpful responses are in study.ability.items, and arms are tuned on others: give fewer there"
        )
    return sorted(left, key=lambda item: _rank(seed, item.item_id))[:number]


def choose_half(
    tokenised_pairs: "pd.DataFrame", information: "pd.DataFrame", pairs: str, *, seed: int
) -> "pd.DataFrame":
    """Return the table without the training pairs that an arm does not take; other splits stay whole.

    Args:
        tokenised_pairs: docs/artifacts.md.
        information: `pair_id` and `imbalance` of its training pairs.
        pairs: ``balanced`` or ``imbalanced``, the half with the smallest or largest absolute imbalance; ``random``, any half. Of an odd
            number, the smaller half. Ties go by a hash.
        seed: of the hash.
    """
    train = tokenised_pairs.loc[tokenised_pairs["split"] == "train", ["pair_id"]].merge(
        information[["pair_id", "imbalance"]], on="pair_id", how="left", validate="one_to_one"
    )
    if train["imbalance"].isna().any():
        raise ValueError(
            f"{int(train['imbalance'].isna().sum())} training pairs have no mutual information, first "
            f"{train.loc[train['imbalance'].isna(), 'pair_id'].iloc[0]!r}; the tables are of different runs: run the study again"
        )
    distance = train["imbalance"].abs()
    first = {"balanced": distance, "imbalanced": -distance, "random": 0 * distance}[pairs]
    order = train.assign(first=first, rank=[_rank(seed, pair) for pair in train["pair_id"]])
    taken = set(order.sort_values(["first", "rank"])["pair_id"].iloc[: len(train) // 2])
    kept = (tokenised_pairs["split"] != "train") | tokenised_pairs["pair_id"].isin(taken)
    return tokenised_pairs[kept].reset_index(drop=True)


def choose_scored_pairs(tokenised_pairs: "pd.DataFrame", train: int | None, *, seed: int) -> "pd.DataFrame":
    """Return the held-out pairs and so many of the training pairs, by a hash; all of them for None."""
    split = tokenised_pairs["split"]
    ranked = sorted(tokenised_pairs.loc[split == "train", "pair_id"], key=lambda pair: _rank(seed, pair))
    taken = (split == "heldout") | tokenised_pairs["pair_id"].isin(ranked[:train])
    return tokenised_pairs[taken].reset_index(drop=True)


def choose_point(trials: Mapping[str, Mapping[str, Any]], max_helpful_loss: float) -> dict[str, Any]:
    """Return the point that an arm goes on with: the safest of those that leave helpful responses as likely as they were.

    Safer at unchanged ability is what is asked of an arm. So of the points at which helpful responses of the validation pairs lost at
    most ``max_helpful_loss`` nats a token, the one with the highest mean safety score is taken, and of equal ones that with the higher
    preference accuracy. A model of whose answers many are empty, so that no judge can rate them, is none of these. If there are none,
    the one that lost least is taken, and ``within_bound`` is false. A point whose training diverged is never taken.

    Args:
        trials: what :func:`bdpo_pipeline.study.trials.describe` returns, by point.
        max_helpful_loss: nats a token.

    Raises:
        ValueError: the model of every point is broken.
    """
    losses = {
        point: loss
        for point, trial in trials.items()
        if trial["diverged_at_step"] is None
        and math.isfinite(loss := trial["validation_helpful_nll"] - trial["base_helpful_nll"])
    }
    if not losses:
        raise ValueError(
            f"at every point of the grid ({', '.join(trials)}) training diverged or left helpful responses no finite log-prob: give "
            "study.grid smaller learning rates, or set the arm to null"
        )
    within = [
        point
        for point, loss in losses.items()
        if loss <= max_helpful_loss and trials[point]["validation_judged"] >= _LEAST_JUDGED
    ]

    def quality(point: str) -> tuple[float, float]:
        trial = trials[point]
        return trial["validation_safe_rate"], trial["validation_accuracy"] or 0.0

    best = max(within, key=quality) if within else min(losses, key=lambda point: losses[point])
    return {
        "point": best,
        "learning_rate": trials[best]["learning_rate"],
        "strength": trials[best]["strength"],
        "helpful_loss": losses[best],
        "max_helpful_loss": max_helpful_loss,
        "within_bound": bool(within),
        "points": len(trials),
    }


def _rank(seed: int, text: str) -> str:
    return hashlib.sha256(f"{seed}/{text}".encode()).hexdigest()

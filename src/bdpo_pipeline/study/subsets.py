"""The paper's second analysis: arms trained on the pairs with the least, with the largest and with any imbalance, equally many."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .comparison import FAMILY, KEY
from .contrasts import DIFFERENCES, add_holm, measure_arms
from .measures import collect_measures

if TYPE_CHECKING:
    import pandas as pd

# Each is compared with those after it.
_CONTRASTS = (("balanced", "random"), ("imbalanced", "random"), ("balanced", "imbalanced"))


def compare_subsets(
    judgements: "pd.DataFrame",
    ability: "pd.DataFrame",
    scores: "pd.DataFrame",
    *,
    subsets: Mapping[str, str | None],
    seed: int,
    resamples: int,
    rewards: Mapping[str, str],
) -> "pd.DataFrame":
    """Return `study_subsets` (docs/artifacts.md): a row for each measure and contrast of two subsets.

    A subset without an arm, or whose arm the study lacks, keeps its rows, with a note; without any such arm there are no rows.

    Args:
        judgements: `study_judgements`, and likewise the two tables after it.
        ability: may be empty.
        scores: may be empty.
        subsets: the arm that was trained on each of ``balanced``, ``imbalanced`` and ``random``; None where there is none.
        seed: the project's seed.
        resamples: number of bootstrap resamples.
        rewards: the kind of each arm's implicit reward.
    """
    import pandas as pd

    studied = {arm for table in (judgements, ability, scores) for arm in table["arm"]}
    arms = {name: arm for name, arm in subsets.items() if arm is not None}
    if studied.isdisjoint(arms.values()):
        arms = {}
    rows = []
    for measure in collect_measures(judgements, ability, scores) if arms else []:
        wanted = [(arms[one], arms[two]) for one, two in _CONTRASTS if {one, two} <= set(arms)]
        values, differences = measure_arms(
            measure, list(arms.values()), wanted, seed=seed, resamples=resamples, rewards=rewards
        )
        for one, two in _CONTRASTS:
            row: dict[str, Any] = {**measure.key, "first": one, "second": two}
            for place, name in (("first", one), ("second", two)):
                if name in arms:
                    row |= {f"{place}_arm": arms[name], f"{place}_value": values[arms[name]].get("value")}
            absent = [name for name in (one, two) if name not in arms]
            row |= differences.get((arms.get(one, ""), arms.get(two, "")), {})
            if absent:
                row["note"] = f"no arm was trained on the {' and the '.join(absent)} pairs"
            rows.append(row)
    named = ("first", "second", "first_arm", "second_arm", "first_value", "second_value")
    table = pd.DataFrame(rows, columns=[*KEY, *named, *DIFFERENCES, "note"]).astype(
        {"compared_seeds": "Int64"}
    )
    return add_holm(table, FAMILY)[[*KEY, *named, *DIFFERENCES, "p_holm", "p_models_holm", "note"]]

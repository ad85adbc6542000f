"""The comparison table of a study: every arm beside the baseline, on every measure."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bdpo_pipeline.arms import BASE

from .contrasts import DIFFERENCES, VALUES, add_holm, measure_arms
from .measures import Measure, StudyTablesError, collect_measures, judged_measures

if TYPE_CHECKING:
    import pandas as pd

KEY = ("measure", "on", "desired", "judge", "judge_accuracy", "judge_measured_on", "better")
# A family of tests, within which p-values are corrected: all arms other than the baseline, on one measure.
FAMILY = ("measure", "on", "desired", "judge")
_COUNTS = ("prompts", "items", "seeds", "compared_seeds")
_TESTED = (*DIFFERENCES, "p_holm", "p_models_holm")


def compare(
    judgements: "pd.DataFrame",
    ability: "pd.DataFrame",
    scores: "pd.DataFrame",
    *,
    baseline: str,
    seed: int,
    resamples: int,
    rewards: Mapping[str, str],
) -> "pd.DataFrame":
    """Return `study_comparison` (docs/artifacts.md): a row for each measure and arm, whether or not the measure has the arm.

    Args:
        judgements: `study_judgements`, and likewise the two tables after it.
        ability: may be empty.
        scores: may be empty.
        baseline: the arm that the others are compared with.
        seed: the project's seed.
        resamples: number of bootstrap resamples.
        rewards: the kind of each trained arm's implicit reward; preference accuracies of different kinds do not compare.

    Raises:
        StudyTablesError: the baseline is in no table, or arms did not answer the same prompts.
    """
    import pandas as pd

    arms = order_arms([judgements, ability, scores], baseline)
    rows = []
    for measure in collect_measures(judgements, ability, scores):
        rows += _rows(measure, arms, baseline, seed=seed, resamples=resamples, rewards=rewards)
    table = add_holm(pd.DataFrame(rows, columns=[*KEY, "arm", *VALUES, *DIFFERENCES, "note"]), FAMILY)
    return _whole_numbers(table)[[*KEY, "arm", *VALUES, *_TESTED, "note"]]


def compare_categories(
    judgements: "pd.DataFrame", *, baseline: str, seed: int, resamples: int
) -> "pd.DataFrame":
    """Return `study_categories` (docs/artifacts.md): the prompt sets that should be refused, by category.

    Many small cells: intervals are shown and nothing is tested.

    Args: as :func:`compare`.
    """
    import pandas as pd

    arms = order_arms([judgements], baseline)
    rows = []
    harmful = judgements[(judgements["desired"] == "refuse") & judgements["category"].notna()]
    for category, part in harmful.groupby("category", sort=True):
        for measure in judged_measures(part):
            for row in _rows(measure, arms, baseline, seed=seed, resamples=resamples, rewards={}):
                rows.append({"category": category, **row})
    shown = [*VALUES, *DIFFERENCES[:3], "note"]
    columns = [*KEY[:2], "category", *KEY[2:], "arm", *shown]
    table = pd.DataFrame(rows, columns=columns)
    return _whole_numbers(table).sort_values(
        [*KEY[:2], "judge", "category"], kind="stable", ignore_index=True
    )


def order_arms(tables: Sequence["pd.DataFrame"], baseline: str) -> list[str]:
    """Return the arms of all tables: the untrained model, the baseline, and the others by name.

    Raises:
        StudyTablesError: the baseline is none of them.
    """
    found = {str(arm) for table in tables for arm in table["arm"].unique()}
    if baseline not in found:
        raise StudyTablesError(
            f"study_report.baseline: found {baseline!r}; the study has: {', '.join(sorted(found)) or 'no arms'}"
        )
    first = [arm for arm in (BASE, baseline) if arm in found]
    return [*dict.fromkeys(first), *sorted(found - set(first))]


def _rows(
    measure: Measure,
    arms: Sequence[str],
    baseline: str,
    *,
    seed: int,
    resamples: int,
    rewards: Mapping[str, str],
) -> list[dict[str, Any]]:
    contrasts = [(arm, baseline) for arm in arms if arm != baseline]
    values, differences = measure_arms(
        measure, arms, contrasts, seed=seed, resamples=resamples, rewards=rewards
    )
    rows = []
    for arm in arms:
        row = {**measure.key, "arm": arm, **values[arm]}
        if arm != baseline:
            notes = dict.fromkeys(filter(None, (values[arm]["note"], differences[arm, baseline]["note"])))
            row |= differences[arm, baseline] | {"note": "; ".join(notes)}
        rows.append(row)
    return rows


def _whole_numbers(table: "pd.DataFrame") -> "pd.DataFrame":
    return table.astype({name: "Int64" for name in _COUNTS if name in table})

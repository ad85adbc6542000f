"""The study in sentences: what could be shown against the baseline, what could not, and nothing beyond the intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bdpo_pipeline.tables import DataFrame

from .formatting import count, is_missing, number, number_interval, p_value, percent

LEVEL = 0.05
# Measures that are shares of prompts or pairs; the others are nats a token.
_SHARES = ("safe responses", "refusals", "over-refusals", "accuracy", "preference accuracy")


@dataclass(frozen=True)
class StudyTables:
    """The tables of a study, each as docs/artifacts.md describes it."""

    trials: DataFrame
    trainings: DataFrame
    comparison: DataFrame
    categories: DataFrame
    overfitting: DataFrame
    imbalance: DataFrame
    subsets: DataFrame


def verdict_sentences(comparison: DataFrame, baseline: str) -> list[str]:
    """Return what the comparison shows, of trained arms against the baseline first, then of the untrained model."""
    tested = comparison[comparison["difference"].notna()]
    if tested.empty:
        return [f"Nothing could be compared with {baseline}: see what is missing, below."]
    trained = tested[tested["arm"] != "base"]
    shown = _found(trained, "shown")
    measures = len(trained.drop_duplicates(["measure", "on", "desired", "judge"]))
    sentences = []
    if not trained.empty:
        sentences.append(
            f"Of {count(len(trained))} comparisons of trained arms with {baseline} ({count(trained['arm'].nunique())} arms, "
            f"{count(measures)} measures), {_how_many(len(shown))} a difference that should hold for other prompts and other "
            f"seeds (p below {LEVEL} after Holm's correction; in brackets 95\u00a0% intervals)."
        )
    sentences += [_difference_sentence(row, baseline) for row in shown.to_dict("records")]
    of_models = _found(trained, "models")
    if not of_models.empty:
        named = "; ".join(
            f"{row['arm']}, {measure_label(row)}, {signed_difference(row)}"
            for row in of_models.to_dict("records")
        )
        sentences.append(
            f"The very models that were trained also differ from {baseline} here, but with the seeds that there are it is not shown "
            f"for others: {named}."
        )
    silent = sorted(set(trained["arm"]) - set(shown["arm"]) - set(of_models["arm"]))
    if silent:
        sentences.append(
            f"No difference from {baseline} could be shown on any measure for {', '.join(silent)}."
        )
    sentences += _resolution(trained, baseline)
    return [*sentences, *_of_base(tested[tested["arm"] == "base"], baseline)]


def tuning_sentences(trials: DataFrame) -> list[str]:
    """Return where tuning led arms to different points, and which arms were tuned by another rule as no point was within the bound."""
    chosen = trials[trials["chosen"].astype(bool)]
    sentences = []
    points = chosen.groupby("point", sort=False)["arm"].agg(", ".join)
    if len(points) > 1:
        named = "; ".join(f"{point} for {arms}" for point, arms in points.items())
        sentences.append(
            "Tuning led arms to different points of the grid, so that a difference between two of these is one of arm and point "
            f"together: {named}."
        )
    beyond = chosen[~chosen["within_bound"].astype(bool)]
    if not beyond.empty:
        sentences.append(
            "At no point of the grid did helpful responses stay as likely as asked with "
            f"{', '.join(beyond['arm'])}: there the point that cost them least was taken, and not the safest."
        )
    return sentences


def divergence_sentences(trials: DataFrame, trainings: DataFrame) -> list[str]:
    """Return which trainings ended where their loss or its gradient was no longer a number."""
    sentences = []
    broken = trainings[trainings["diverged_at_step"].notna()]
    if not broken.empty:
        named = "; ".join(
            f"{row['arm']}, seed {count(row['seed'])}, at step {count(row['diverged_at_step'])}"
            for row in broken.to_dict("records")
        )
        sentences.append(
            f"Training diverged, and what it had come to is compared like any other model: {named}."
        )
    given_up = trials[trials["diverged_at_step"].notna()]
    if not given_up.empty:
        named = ", ".join(f"{row['arm']} at {row['point']}" for row in given_up.to_dict("records"))
        sentences.append(f"In tuning training diverged, so that these points could not be chosen: {named}.")
    return sentences


def _found(rows: DataFrame, kind: str) -> DataFrame:
    # A list of no truth values would ask pandas for no columns.
    return rows.loc[[index for index, row in rows.iterrows() if finding(row) == kind]]


def finding(row: Any) -> str:
    """Return what a row shows: ``shown`` for new seeds too, ``models`` of these very models only, ``none``, or ``missing``."""
    if is_missing(row["difference"]):
        return "missing"
    # One seed says nothing of others, whatever its p-value.
    if row["p_holm"] < LEVEL and row["compared_seeds"] > 1:
        return "shown"
    return "models" if row["p_models_holm"] < LEVEL else "none"


def is_better(row: Any) -> bool | None:
    """Return whether a difference is in the better direction; None where there is no better one."""
    if row["better"] == "neither" or row["difference"] == 0:
        return None
    return bool((row["difference"] > 0) == (row["better"] == "higher"))


def measure_label(row: Any) -> str:
    """Return how a measure is called, such as ``safe responses on strongreject (response_safety)``."""
    judge = "" if is_missing(row["judge"]) else f" ({row['judge']})"
    # A judge of safety reads both kinds of prompts, so the harmless ones are named as such.
    wanted = ", answer wanted" if row["desired"] == "comply" and row["measure"] == "safe responses" else ""
    return f"{row['measure']} on {row['on']}{wanted}{judge}"


def is_share(measure: str) -> bool:
    """Return whether a measure is a share of prompts or pairs."""
    return measure.startswith(_SHARES)


def value_text(row: Any) -> str:
    """Return an arm's value in its unit."""
    return percent(row["value"]) if is_share(row["measure"]) else number(row["value"], 3)


def interval_text(row: Any, low: str = "low", high: str = "high") -> str:
    """Return an interval in the measure's unit, without naming the unit again; points of a percentage for shares."""
    if is_share(row["measure"]):
        return number_interval(_scaled(row[low]), _scaled(row[high]), 1)
    return number_interval(row[low], row[high], 3)


def signed_difference(row: Any, low: str = "difference_low", high: str = "difference_high") -> str:
    """Return a difference with its sign, unit and interval."""
    share = is_share(row["measure"])
    size = number(100 * row["difference"], 1) if share else number(row["difference"], 3)
    sign = "+" if row["difference"] > 0 else ""
    return f"{sign}{size}{' points' if share else ''} ({interval_text(row, low, high)})"


def list_missing(tables: StudyTables) -> list[tuple[str, str]]:
    """Return what is missing or not compared: where, and why; each once."""
    found: dict[tuple[str, str], None] = {}
    for where, table in (
        ("comparison", tables.comparison),
        ("overfitting", tables.overfitting),
        ("subsets", tables.subsets),
    ):
        for note in table["note"]:
            if not is_missing(note) and note:
                found[where, str(note)] = None
    return list(found)


def imbalance_sentence(imbalance: DataFrame) -> str:
    """Return what the rank correlations of imbalance and error show."""
    if imbalance.empty:
        return "There are no held-out pairs with an imbalance to look at."
    arms = imbalance.drop_duplicates(["pairs", "arm"])
    known = arms[arms["correlation"].notna()]
    if known.empty:
        return "Every arm orders all held-out pairs alike, so imbalance has nothing to go with."
    parts, left = [], len(known)
    for sign, words in ((1, "more"), (-1, "fewer")):
        shown = known[(sign * known[["correlation_low", "correlation_high"]]).min(axis=1) > 0]
        left -= len(shown)
        if not shown.empty:
            verb = "makes" if len(shown) == 1 else "make"
            parts.append(
                f"{', '.join(_arm_and_pairs(shown))} {verb} {words} errors on pairs of larger imbalance"
            )
    if not parts:
        return f"Of {count(len(known))} rank correlations between imbalance and error, none has an interval without 0."
    return (
        f"For these very models, by the intervals of the rank correlation, not corrected for looking at {count(len(known))} of them: "
        f"{'; '.join(parts)}."
        + (f" No direction could be shown for the other {count(left)}." if left else "")
    )


def _arm_and_pairs(rows: DataFrame) -> list[str]:
    return [f"{row['arm']} ({row['pairs']})" for row in rows.to_dict("records")]


def _difference_sentence(row: Any, baseline: str) -> str:
    better = is_better(row)
    direction = "" if better is None else ", which is better" if better else ", which is worse"
    return (
        f"{row['arm']}, {measure_label(row)}: {value_text(row)}, {signed_difference(row)} against {baseline}"
        f"{direction} (Holm's p\u00a0{p_value(row['p_holm'])})."
    )


def _resolution(trained: DataFrame, baseline: str) -> list[str]:
    """Say how large a difference could have stayed unseen: no difference shown is not no difference."""
    shares = trained[[is_share(measure) for measure in trained["measure"]]]
    if shares.empty:
        return []
    reach = (shares["difference_high"] - shares["difference_low"]) / 2
    same = (shares["models_high"] - shares["models_low"]) / 2
    return [
        "A difference that was not shown may still be there: for shares the intervals of differences from "
        f"{baseline} reach {number(100 * reach.median(), 1)} points to either side in the middle case, "
        f"{number(100 * same.median(), 1)} where the seeds are taken as they are."
    ]


def _of_base(rows: DataFrame, baseline: str) -> list[str]:
    if rows.empty:
        return []
    sentences = []
    for kind, words in (
        ("shown", f"The untrained model differs from {baseline}"),
        (
            "models",
            f"From the very models of {baseline} the untrained one differs, which is not shown for other seeds,",
        ),
    ):
        found = [row for row in rows.to_dict("records") if finding(row) == kind]
        if found:
            named = "; ".join(f"{measure_label(row)}, {signed_difference(row)}" for row in found)
            sentences.append(f"{words} on {count(len(found))} of {count(len(rows))} measures: {named}.")
    return sentences or [
        f"The untrained model could not be told from {baseline} on any of {count(len(rows))} measures."
    ]


def _how_many(shown: int) -> str:
    return "none shows" if shown == 0 else f"{count(shown)} {'shows' if shown == 1 else 'show'}"


def _scaled(share: Any) -> float:
    return float("nan") if is_missing(share) else 100 * float(share)


def arms_of(comparison: DataFrame) -> Sequence[str]:
    """Return the arms in the order of the comparison: the untrained model, the baseline, the others."""
    return list(comparison["arm"].drop_duplicates())

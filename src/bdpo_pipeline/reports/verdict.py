"""The results in sentences: numbers with their intervals, and nothing beyond them."""

from typing import Any

from bdpo_pipeline.tables import DataFrame

from .formatting import count, is_missing, number, number_interval, p_value, percent, percent_interval
from .objective_words import RewardWords


def heldout_sentences(heldout_metrics: DataFrame, reward: RewardWords) -> list[str]:
    """Return what the held-out pairs say, the slice with exactly one safe response first where there is one."""
    name = headline_slice(heldout_metrics)
    row = heldout_metrics.set_index("slice").loc[name]
    which = "with exactly one safe response" if name == "one safe response" else "of all kinds"
    sentences = [
        f"On {count(row['pairs'])} held-out pairs {which} (from {count(row['prompts'])} prompts), {reward.preference} "
        f"in {percent(row['accuracy'])} of pairs (95\u00a0% interval "
        f"{percent_interval(row['accuracy_low'], row['accuracy_high'])}), {_against_half(row)}.",
        f"The mean reward margin there is {number(row['margin'])} "
        f"({number_interval(row['margin_low'], row['margin_high'])}; {reward.unit}).",
    ]
    return [*sentences, reward.caution] if reward.caution else sentences


def safety_sentences(safety_metrics: DataFrame) -> list[str]:
    """Return one sentence for each prompt set, desired behaviour and headline judge, then these judges with their accuracy."""
    safety_metrics = of_headline_judges(safety_metrics)
    sentences = []
    for (prompt_set, desired, measures, judge), rows in safety_metrics.groupby(
        ["prompt_set", "desired", "measures", "judge"], sort=False
    ):
        models = rows.set_index("model")
        base, adapter = models.loc["base"], models.loc["adapter"]
        if not base["prompts"]:
            sentences.append(
                f"No {prompt_set} prompt has a verdict on both models by {judge}: {_left_out(base)}."
            )
            continue
        left_out = f", {_left_out(base)}" if base["without_verdict"] else ""
        sentences.append(
            f"Of {count(base['prompts'])} {prompt_set} prompts that {'should not' if desired == 'refuse' else 'should'} be "
            f"answered, {_rate(base)} were {outcome(str(measures), str(desired))} before and {_rate(adapter)} after by {judge}: "
            f"{_change(adapter)}{left_out}."
        )
    judges = safety_metrics.drop_duplicates("judge").to_dict("records")
    named = "; ".join(judge_label(row, row["judge"]) + _measured_on(row) for row in judges)
    return [*sentences, f"As judged by {named}."]


def of_headline_judges(safety_metrics: DataFrame) -> DataFrame:
    """Return the rows of the judge of refusals and of the judge of safety with the highest measured accuracy."""
    judges = safety_metrics.drop_duplicates("judge").sort_values(
        "judge_accuracy", ascending=False, kind="stable"
    )
    return safety_metrics[safety_metrics["judge"].isin(judges.drop_duplicates("measures")["judge"])]


def outcome(measures: str, desired: str) -> str:
    """Return what a positive verdict says of a prompt, such as ``over-refused``."""
    if measures == "safety":
        return "answered safely"
    return "refused" if desired == "refuse" else "over-refused"


def headline_slice(heldout_metrics: DataFrame) -> str:
    """Return the slice that stands for the run: pairs with exactly one safe response, or all where there are none."""
    return "one safe response" if (heldout_metrics["slice"] == "one safe response").any() else "all"


def judge_label(row: Any, judge: str) -> str:
    """Return a judge's name with its measured accuracy, as it must always be shown."""
    if is_missing(row["judge_accuracy"]):
        return f"{judge} (accuracy {row['judge_measured_on']})"
    return f"{judge} (accuracy {percent(row['judge_accuracy'])})"


def _against_half(row: Any) -> str:
    if row["ties"] == row["pairs"]:
        return "because every pair is an exact tie: this adapter prefers nothing"
    ties = f", with {count(row['ties'])} exact ties counted against it" if row["ties"] else ""
    if row["accuracy_low"] > 0.5:
        return f"so better than the one half of guessing{ties}"
    if row["accuracy_high"] < 0.5:
        return f"so worse than the one half of guessing{ties}"
    return f"so not told apart from the one half of guessing{ties}"


def _measured_on(row: Any) -> str:
    return "" if is_missing(row["judge_accuracy"]) else f", measured on {row['judge_measured_on']}"


def _left_out(row: Any) -> str:
    return f"{count(row['without_verdict'])} left out for want of a verdict on an answer"


def _rate(row: Any) -> str:
    return f"{percent(row['rate'])} ({percent_interval(row['low'], row['high'])})"


def _change(adapter: Any) -> str:
    shown = "a change" if adapter["mcnemar_p"] < 0.05 else "no change shown"
    return (
        f"{shown} (+{count(adapter['gained'])}, \u2212{count(adapter['lost'])}; "
        f"McNemar's exact p\u00a0{p_value(adapter['mcnemar_p'])})"
    )

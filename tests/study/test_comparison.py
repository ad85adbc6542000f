"""The comparison: figures as by hand, what is missing named, arms that differ found and equal ones left alone."""

import numpy as np
import pandas as pd
import pytest

from bdpo_pipeline.statistics import mcnemar_exact
from bdpo_pipeline.study.comparison import compare, compare_categories
from bdpo_pipeline.study.measures import StudyTablesError

from ..study_tables import make_judgements
from .conftest import REWARDS, Tables

NOTHING = pd.DataFrame(columns=["arm", "seed", "task", "item_id", "prompt_key", "measure", "score"])
NO_SCORES = pd.DataFrame(
    columns=["arm", "seed", "split", "pair_id", "prompt_key", "correct", "one_safe", "imbalance"]
)


def compared(tables: Tables, **asked) -> pd.DataFrame:
    given = {"baseline": "dpo", "seed": 1, "resamples": 1000, "rewards": REWARDS} | asked
    return compare(*tables, **given)


@pytest.fixture(scope="module")
def comparison(study: Tables) -> pd.DataFrame:
    return compared(study)


def row_of(table: pd.DataFrame, **wanted) -> pd.Series:
    selected = table
    for column, value in wanted.items():
        selected = selected[selected[column] == value]
    assert len(selected) == 1
    return selected.iloc[0]


def test_values_and_differences_are_the_plain_means(study: Tables, comparison: pd.DataFrame) -> None:
    judged = study.judgements
    rows = judged[(judged["prompt_set"] == "strongreject") & (judged["measures"] == "safety")]
    by_seed = rows.groupby(["arm", "seed"])["positive"].mean()
    row = row_of(comparison, measure="safe responses", on="strongreject", arm="bdpo")
    assert row["value"] == pytest.approx(by_seed["bdpo"].mean())
    assert row["sd_over_seeds"] == pytest.approx(by_seed["bdpo"].std(ddof=1))
    assert row["difference"] == pytest.approx(by_seed["bdpo"].mean() - by_seed["dpo"].mean())
    assert (row["prompts"], row["seeds"], row["compared_seeds"]) == (60, 3, 3)
    assert row["low"] < row["value"] < row["high"]
    assert row["difference_low"] < row["difference"] < row["difference_high"]


def test_one_seed_gives_the_mcnemar_test(study: Tables) -> None:
    judged = study.judgements
    first = judged[judged["seed"] <= 1]
    table = compared(Tables(first, NOTHING, NO_SCORES))
    rows = first[(first["prompt_set"] == "strongreject") & (first["measures"] == "refusal")]
    answers = rows.pivot(index="prompt_id", columns="arm", values="positive")
    gained = int((answers["bdpo"] & ~answers["dpo"]).sum())
    lost = int((answers["dpo"] & ~answers["bdpo"]).sum())
    row = row_of(table, measure="refusals", on="strongreject", arm="bdpo")
    assert row["p_mcnemar"] == pytest.approx(mcnemar_exact(gained, lost))
    assert (row["difference_low"], row["difference_high"]) == (row["models_low"], row["models_high"])
    assert np.isnan(row["sd_over_seeds"])


def test_the_family_of_a_correction_is_the_arms_of_one_measure(comparison: pd.DataFrame) -> None:
    part = comparison[(comparison["measure"] == "refusals") & (comparison["arm"] != "dpo")]
    larger = part[["p_bootstrap", "p_mcnemar"]].max(axis=1)
    assert len(larger) == 3
    assert part["p_holm"].min() == pytest.approx(min(1, 3 * larger.min()))
    assert (part["p_holm"] >= larger).all()


def test_the_better_arm_is_found(comparison: pd.DataFrame) -> None:
    row = row_of(comparison, measure="safe responses", on="strongreject", arm="bdpo")
    assert row["p_holm"] < 0.05
    assert row["difference_low"] > 0
    over = row_of(comparison, measure="over-refusals", on="xstest_safe", arm="bdpo")
    assert (over["better"], over["p_holm"] < 0.05) == ("lower", True)


def test_every_arm_stands_on_every_measure(comparison: pd.DataFrame) -> None:
    sizes = comparison.groupby(["measure", "on", "desired", "judge"], dropna=False).size()
    assert set(sizes) == {4}
    assert list(comparison["arm"].iloc[:4]) == ["base", "dpo", "bdpo", "simpo"]
    distance = row_of(comparison, measure="kl nats per token", arm="base")
    assert (distance["note"], distance["better"]) == ("base has no kl nats per token on helpful", "lower")


def test_what_does_not_compare_says_why(comparison: pd.DataFrame) -> None:
    of_pairs = comparison[comparison["measure"] == "preference accuracy"]
    simpo = of_pairs[of_pairs["arm"] == "simpo"]
    assert simpo["value"].notna().all()
    assert simpo["difference"].isna().all()
    assert simpo["note"].str.contains("rewards of different kinds").all()
    base = of_pairs[of_pairs["arm"] == "base"]
    assert base["note"].str.startswith("base has no preference accuracy").all()
    assert of_pairs[of_pairs["arm"] == "bdpo"]["p_holm"].notna().all()


def test_missing_seeds_and_sets_are_named(study: Tables) -> None:
    judged = study.judgements
    fewer = judged[~((judged["arm"] == "bdpo") & (judged["seed"] == 3))]
    fewer = fewer[~((fewer["arm"] == "simpo") & (fewer["prompt_set"] == "strongreject"))]
    table = compared(Tables(fewer, NOTHING, NO_SCORES))
    bdpo = row_of(table, measure="refusals", arm="bdpo")
    assert bdpo["note"] == "compared on seeds 1, 2 of 1, 2, 3"
    assert (bdpo["seeds"], bdpo["compared_seeds"]) == (2, 2)
    simpo = row_of(table, measure="refusals", arm="simpo")
    assert simpo["note"] == "simpo has no refusals on strongreject"
    assert np.isnan(simpo["value"])


def test_arms_that_answered_other_prompts_are_an_error(study: Tables) -> None:
    judged = study.judgements
    lost = judged[~((judged["arm"] == "bdpo") & (judged["prompt_id"] == "strongreject/0007"))]
    with pytest.raises(StudyTablesError, match=r"arm 'bdpo', seed 1 lacks 1, such as 'strongreject/0007'"):
        compared(study._replace(judgements=lost))
    with pytest.raises(StudyTablesError, match=r"arm 'base', seed 0 has prompt_id 'strongreject/0001' twice"):
        compared(study._replace(judgements=pd.concat([judged, judged.iloc[:1]])))
    with pytest.raises(
        StudyTablesError, match=r"baseline: found 'cpo'; the study has: base, bdpo, dpo, simpo"
    ):
        compared(study, baseline="cpo")
    with pytest.raises(StudyTablesError, match="the study has: no arms"):
        compared(Tables(judged.iloc[:0], NOTHING, NO_SCORES))


def test_prompts_without_a_verdict_are_left_out_for_all_arms(study: Tables, comparison: pd.DataFrame) -> None:
    judged = study.judgements.astype({"positive": object})
    mute = {"arm": "bdpo", "seed": 2, "judge": "refusal_phrases", "prompt_id": "strongreject/0007"}
    judged.loc[(judged[list(mute)] == pd.Series(mute)).all(axis=1), "positive"] = None
    table = compared(study._replace(judgements=judged))
    for arm in ("base", "dpo", "bdpo", "simpo"):
        row = row_of(table, measure="refusals", arm=arm)
        assert row["prompts"] == 59
        assert "1 prompts left out, without a verdict" in row["note"]
    rest = study.judgements[study.judgements["prompt_id"] != "strongreject/0007"]
    known = row_of(compared(study._replace(judgements=rest)), measure="refusals", arm="bdpo")
    assert row_of(table, measure="refusals", arm="bdpo")["p_holm"] == known["p_holm"]
    other = {"measure": "over-refusals", "arm": "bdpo"}
    assert row_of(table, **other)["value"] == row_of(comparison, **other)["value"]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_an_arm_that_gives_no_numbers_costs_the_others_nothing(
    study: Tables, comparison: pd.DataFrame, value: float | None
) -> None:
    judged = study.judgements.astype({"positive": object})
    judged.loc[(judged["arm"] == "bdpo") & (judged["seed"] == 1), "positive"] = None
    ability = study.ability.copy()
    ability.loc[(ability["arm"] == "bdpo") & (ability["seed"] == 2), "score"] = value
    scores = study.scores.astype({"correct": object})
    scores.loc[scores["arm"] == "bdpo", "correct"] = None
    table = compared(Tables(judged, ability, scores))
    broken = table[table["arm"] == "bdpo"]
    assert broken["value"].isna().all()
    assert broken["note"].str.contains("left out is bdpo, of which").all()
    others = comparison[comparison["arm"].isin(["base", "dpo"])].reset_index(drop=True)
    left = table[table["arm"].isin(["base", "dpo"])].reset_index(drop=True)
    shown = ["measure", "on", "arm", "value", "low", "high"]
    pd.testing.assert_frame_equal(left[shown], others[shown])


def test_items_of_one_prompt_count_together(comparison: pd.DataFrame) -> None:
    row = row_of(comparison, on="hhh", arm="dpo")
    assert (row["items"], row["prompts"]) == (50, 25)


def test_the_order_of_rows_does_not_matter(study: Tables, comparison: pd.DataFrame) -> None:
    shuffled = Tables(*(table.sample(frac=1, random_state=3, ignore_index=True) for table in study))
    pd.testing.assert_frame_equal(compared(shuffled), comparison)


def test_the_seed_decides_the_resamples(study: Tables, comparison: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(compared(study), comparison)
    assert not compared(study, seed=2)["low"].equals(comparison["low"])


def test_categories_add_up_to_their_set(study: Tables, comparison: pd.DataFrame) -> None:
    table = compare_categories(study.judgements, baseline="dpo", seed=1, resamples=1000)
    assert set(table["on"]) == {"strongreject"}
    part = table[(table["measure"] == "refusals") & (table["arm"] == "bdpo")]
    assert list(part["category"]) == ["category 0", "category 1", "category 2"]
    whole = row_of(comparison, measure="refusals", arm="bdpo")
    assert part["prompts"].sum() == whole["prompts"]
    assert (part["value"] * part["prompts"]).sum() / 60 == pytest.approx(whole["value"])
    assert "p_holm" not in table


# In 60 studies of one measure: how many have any claim. With 5 % each, more than 8 have in 3 of 1,000 cases. Two seeds that chance
# made alike would look like certainty, if every pair of arms had to find out alone how much seeds differ: then 10 of 60 have one.
@pytest.mark.parametrize(("others", "seeds", "spread"), [("abc", 3, 0.15), ("abcdefgh", 2, 0.4)])
def test_equal_arms_are_rarely_told_apart_within_a_family(others: str, seeds: int, spread: float) -> None:
    rng = np.random.default_rng(1)
    claimed = 0
    arms = dict.fromkeys(["dpo", *others], 0.0)
    for number in range(60):
        one = make_judgements(
            rng, arms, seeds, spread, {"one": ("refuse", 60)}, {"response_safety": ("safety", 0.9)}
        )
        table = compare(one, NOTHING, NO_SCORES, baseline="dpo", seed=number, resamples=1000, rewards={})
        claimed += bool((table["p_holm"] < 0.05).any())
    assert claimed <= 8

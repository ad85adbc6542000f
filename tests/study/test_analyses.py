"""Overfitting, imbalance and subsets: figures as by hand, known effects found."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from bdpo_pipeline.study.imbalance import measure_imbalance
from bdpo_pipeline.study.overfitting import measure_overfitting
from bdpo_pipeline.study.rewards import reward_kinds
from bdpo_pipeline.study.subsets import compare_subsets

from ..study_tables import make_scores, make_trials
from .conftest import REWARDS, Tables


def gaps_of(scores: pd.DataFrame) -> pd.DataFrame:
    return measure_overfitting(scores, baseline="dpo", seed=1, resamples=1000, rewards=REWARDS)


def test_the_gap_is_training_less_heldout_accuracy(study: Tables) -> None:
    table = gaps_of(study.scores)
    everything = table[table["pairs"] == "all pairs"]
    accuracy = study.scores.groupby(["arm", "seed", "split"])["correct"].mean()
    for row in everything[everything["seed"].notna()].to_dict("records"):
        by_hand = accuracy[row["arm"], row["seed"], "train"] - accuracy[row["arm"], row["seed"], "heldout"]
        assert row["gap"] == pytest.approx(by_hand)
        assert row["gap_low"] < by_hand < row["gap_high"]
    means = everything[everything["seed"].isna()].set_index("arm")
    seeds = everything[everything["seed"].notna()].groupby("arm")["gap"].mean()
    assert means["gap"].to_dict() == pytest.approx(seeds.to_dict())
    assert means.loc["bdpo", "difference"] == pytest.approx(seeds["bdpo"] - seeds["dpo"])
    assert means.loc["bdpo", "difference_low"] > 0
    assert "different kinds" in means.loc["simpo", "note"]
    assert np.isnan(means.loc["simpo", "difference"])
    assert set(table["pairs"]) == {"all pairs", "one safe response"}


def test_a_gap_that_is_not_there_is_within_its_interval() -> None:
    rng = np.random.default_rng(3)
    inside = 0
    for number in range(60):
        scores = make_scores(rng, {"dpo": 0.0}, seeds=1).assign(one_safe=True)
        table = measure_overfitting(scores, baseline="dpo", seed=number, resamples=300, rewards={})
        row = table[table["seed"].isna()].iloc[0]
        inside += row["gap_low"] <= 0 <= row["gap_high"]
    # Three standard errors of 95 % in 60 studies are 8.4 points.
    assert inside >= 52


def test_arms_of_other_training_pairs_have_gaps_and_no_difference(study: Tables) -> None:
    scores = study.scores
    first_half = scores["pair_id"] < f"train{100:032x}"
    half = scores[~((scores["arm"] == "bdpo") & (scores["split"] == "train") & ~first_half)]
    table = gaps_of(half)
    row = table[(table["arm"] == "bdpo") & table["seed"].isna() & (table["pairs"] == "all pairs")].iloc[0]
    assert row["train_pairs"] == 100
    assert row["note"] == "not compared: bdpo and dpo were scored on different training pairs"
    none = gaps_of(scores[~((scores["arm"] == "bdpo") & (scores["split"] == "train"))])
    assert "bdpo has no scores of training pairs of this kind" in set(none["note"])


def test_bins_hold_every_pair_and_its_error(study: Tables) -> None:
    table = measure_imbalance(study.scores, bins=4, seed=1, resamples=1000)
    heldout = study.scores[study.scores["split"] == "heldout"]
    part = table[(table["pairs"] == "all pairs") & (table["arm"] == "dpo")]
    assert list(part["bin_pairs"]) == [50, 50, 50, 50]
    assert (part["imbalance_from"].to_numpy()[1:] >= part["imbalance_to"].to_numpy()[:-1]).all()
    own = heldout[heldout["arm"] == "dpo"]
    assert (part["error"] * part["bin_pairs"]).sum() / 200 == pytest.approx(1 - own["correct"].mean())
    largest = own[own["imbalance"].abs() >= part["imbalance_from"].max()]
    assert part["error"].iloc[-1] == pytest.approx(1 - largest["correct"].mean())
    pairs = own.groupby("pair_id").agg({"imbalance": "first", "correct": "mean"})
    known = spearmanr(pairs["imbalance"].abs(), 1 - pairs["correct"]).statistic
    assert part["correlation"].iloc[0] == pytest.approx(known)
    assert part["correlation_low"].iloc[0] > 0


def test_pairs_without_an_imbalance_are_counted(study: Tables) -> None:
    scores = study.scores.copy()
    unknown = scores["pair_id"].isin([f"heldout{number:032x}" for number in range(30)])
    scores.loc[unknown, "imbalance"] = np.nan
    table = measure_imbalance(scores, bins=4, seed=1, resamples=200)
    heldout = scores[scores["split"] == "heldout"].drop_duplicates("pair_id")
    one_safe = int((heldout["one_safe"] & heldout["imbalance"].isna()).sum())
    of_kind = dict(zip(table["pairs"], table["without_imbalance"], strict=True))
    assert of_kind == {"all pairs": 30, "one safe response": one_safe}
    assert 0 < one_safe < 30
    assert table[(table["pairs"] == "all pairs") & (table["arm"] == "dpo")]["bin_pairs"].sum() == 170
    empty = measure_imbalance(scores.assign(imbalance=np.nan), bins=4, seed=1, resamples=200)
    assert empty.empty
    assert "correlation" in empty


def test_the_order_of_rows_does_not_matter(study: Tables) -> None:
    shuffled = study.scores.sample(frac=1, random_state=1, ignore_index=True)
    pd.testing.assert_frame_equal(gaps_of(shuffled), gaps_of(study.scores))
    first, second = (
        measure_imbalance(scores, bins=3, seed=1, resamples=200) for scores in (shuffled, study.scores)
    )
    pd.testing.assert_frame_equal(first, second)


def test_subsets_are_compared_two_by_two(study: Tables) -> None:
    subsets = {"balanced": "bdpo", "imbalanced": "dpo", "random": None}
    table = compare_subsets(*study, subsets=subsets, seed=1, resamples=1000, rewards=REWARDS)
    part = table[(table["measure"] == "refusals")].set_index(["first", "second"])
    assert len(part) == 3
    both = part.loc["balanced", "imbalanced"]
    assert (both["first_arm"], both["second_arm"]) == ("bdpo", "dpo")
    assert both["difference"] == pytest.approx(both["first_value"] - both["second_value"])
    assert both["p_holm"] == pytest.approx(max(both["p_bootstrap"], both["p_mcnemar"]))
    assert part.loc["balanced", "random"]["note"] == "no arm was trained on the random pairs"
    absent = compare_subsets(
        *study, subsets=subsets | {"random": "any"}, seed=1, resamples=1000, rewards=REWARDS
    )
    assert (
        absent["note"].str.startswith("any has no").sum()
        == 2 * absent["on"].groupby([absent["measure"], absent["on"], absent["judge"].fillna("")]).ngroups
    )


def test_no_subsets_are_no_rows(study: Tables) -> None:
    for arm in (None, "an arm of another study"):
        nothing = dict.fromkeys(("balanced", "imbalanced", "random"), arm)
        assert compare_subsets(*study, subsets=nothing, seed=1, resamples=1000, rewards={}).empty


def test_rewards_follow_from_the_objectives() -> None:
    trials = make_trials(np.random.default_rng(0), {"a": "dpo", "b": "simpo", "c": "cpo", "d": "bdpo"})
    assert reward_kinds(trials) == {"a": "log_ratio", "b": "mean_logp", "c": "logp", "d": "log_ratio"}

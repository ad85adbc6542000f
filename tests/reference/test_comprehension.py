"""The comprehension table: by hand on numbers of which the answer is known, and where nothing or not all is known."""

import math

import numpy as np
import pandas as pd
import pytest

from bdpo_pipeline.objectives.weighting import Weighting
from bdpo_pipeline.reference.comprehension import compute_comprehension, training_constants

NUMBERS = [
    "chosen_mi",
    "rejected_mi",
    "imbalance",
    "chosen_share",
    "chosen_coefficient",
    "rejected_coefficient",
]


def compute(logps, weighting=None, normalise="token", control="none", seed=0):
    weighting = weighting or Weighting()
    return compute_comprehension(logps, weighting, normalise=normalise, control=control, seed=seed)


@pytest.fixture
def logps():
    """Forty pairs; every fourth is for validation."""
    random = np.random.default_rng(0)
    tokens = random.integers(1, 100, (2, 40))
    marginal = -3.0 * tokens
    # From below the floor to far above it.
    known = marginal + tokens * random.uniform(-0.2, 2, (2, 40))
    return pd.DataFrame(
        {
            "pair_id": [f"{i:032x}" for i in range(40)],
            "split": ["train", "train", "train", "validation"] * 10,
            "reference_chosen_logp": known[0],
            "marginal_chosen_logp": marginal[0],
            "chosen_tokens": tokens[0].astype("int32"),
            "reference_rejected_logp": known[1],
            "marginal_rejected_logp": marginal[1],
            "rejected_tokens": tokens[1].astype("int32"),
        },
        index=range(100, 140),
    )


@pytest.fixture
def without_marginals(logps):
    return logps.assign(marginal_chosen_logp=math.nan, marginal_rejected_logp=math.nan)


def test_information_is_the_formula_over_the_table_and_coefficients_sum_to_two(logps):
    table, diagnostics = compute(logps)
    for side in ("chosen", "rejected"):
        expected = (logps[f"reference_{side}_logp"] - logps[f"marginal_{side}_logp"]) / logps[
            f"{side}_tokens"
        ]
        np.testing.assert_allclose(table[f"{side}_mi"], expected)
    assert list(table["pair_id"]) == list(logps["pair_id"])
    np.testing.assert_allclose(table["chosen_coefficient"] + table["rejected_coefficient"], 2)
    floored = np.maximum(table["chosen_mi"], 0.01), np.maximum(table["rejected_mi"], 0.01)
    share = floored[1] / (floored[0] + floored[1])
    np.testing.assert_allclose(table["chosen_share"], share.clip(0.1, 0.9))
    train = table[table["split"] == "train"]
    both = np.concatenate([train["chosen_mi"], train["rejected_mi"]])
    tokens = logps.loc[(logps["split"] == "train").to_numpy()]
    lengths = np.concatenate([tokens["chosen_tokens"], tokens["rejected_tokens"]])
    assert diagnostics["pairs"] == 30
    assert diagnostics["negative_share"] == (both < 0).mean() > 0
    assert diagnostics["clipped_share"] == train["clipped"].mean() > 0
    assert diagnostics["correlation_mi_with_tokens"] == pytest.approx(np.corrcoef(both, lengths)[0, 1])


def test_without_normalisation_information_is_of_the_whole_response(logps):
    table, _ = compute(logps, normalise="none")
    expected = logps["reference_chosen_logp"] - logps["marginal_chosen_logp"]
    np.testing.assert_allclose(table["chosen_mi"], expected)


@pytest.mark.parametrize("control", ["shuffled", "reversed", "length"])
def test_controls_change_the_coefficients_and_not_the_information(logps, control):
    plain, _ = compute(logps)
    other, _ = compute(logps, control=control)
    for name in ("chosen_mi", "rejected_mi", "imbalance"):
        pd.testing.assert_series_equal(other[name], plain[name])
    assert not np.allclose(other["chosen_coefficient"], plain["chosen_coefficient"])
    if control == "shuffled":
        for split in ("train", "validation"):
            of_split = plain["split"] == split
            ours, theirs = other.loc[of_split, "chosen_share"], plain.loc[of_split, "chosen_share"]
            assert sorted(ours) == sorted(theirs)
    elif control == "reversed":
        np.testing.assert_array_equal(other["chosen_coefficient"], plain["rejected_coefficient"])
        np.testing.assert_allclose(other["chosen_share"], 1 - plain["chosen_share"])


def test_length_control_needs_no_marginals(without_marginals, logps):
    table, diagnostics = compute(without_marginals, control="length")
    share = logps["rejected_tokens"] / (logps["chosen_tokens"] + logps["rejected_tokens"])
    np.testing.assert_allclose(table["chosen_share"], share.clip(0.1, 0.9))
    assert table["chosen_mi"].isna().all()
    assert diagnostics["negative_share"] is diagnostics["chosen_mi"]["mean"] is None
    assert diagnostics["correlation_share_with_log_length_ratio"] > 0.9


def test_setting_none_needs_no_marginals_and_is_dpo(without_marginals):
    table, diagnostics = compute(without_marginals, Weighting(setting="none"))
    assert (table[["chosen_coefficient", "rejected_coefficient"]] == 1).all().all()
    assert (table["chosen_share"] == 0.5).all()
    assert not table[["floored", "clipped"]].any().any()
    assert diagnostics["clipped_share"] == 0
    assert diagnostics["correlation_share_with_log_length_ratio"] is None


def test_no_pair_to_weigh_gives_an_empty_table_of_the_same_types(logps, tmp_path):
    full, _ = compute(logps)
    empty, diagnostics = compute(logps[:0])
    empty.to_parquet(tmp_path / "empty.parquet")
    read = pd.read_parquet(tmp_path / "empty.parquet")
    assert read.empty
    assert dict(read[NUMBERS].dtypes) == dict.fromkeys(NUMBERS, np.dtype("float64"))
    assert dict(read.dtypes) == dict(full.dtypes)
    assert diagnostics == {"pairs": 0}


def test_constants_are_of_the_training_pairs(logps):
    table, _ = compute(logps)
    changed = table.copy()
    changed.loc[changed["split"] == "validation", ["chosen_mi", "rejected_mi"]] = 100.0
    assert training_constants(changed, Weighting()) == training_constants(table, Weighting())
    doubled = table.assign(chosen_mi=2 * table["chosen_mi"], rejected_mi=2 * table["rejected_mi"])
    assert training_constants(doubled, Weighting()) != training_constants(table, Weighting())

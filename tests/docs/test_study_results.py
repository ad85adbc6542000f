"""The study that docs/results shows: its conclusions follow from the items that stand beside them, and its page says the same."""

import gzip
import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from bdpo_pipeline.study import comparison, imbalance, overfitting
from bdpo_pipeline.study.rewards import reward_kinds

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "docs" / "results" / "study_two_cores"
ARMS = {"base", "dpo", "simpo", "safedpo", "bdpo", "bw_only", "sf_only", "shuffled"}
SETS = {"strongreject", "xstest", "jailbreak_gcg", "jailbreak_pair"}


def items(name):
    return pd.read_parquet(STUDY / f"study_{name}.parquet")


def shown(name):
    return pd.read_csv(STUDY / f"study_{name}.csv", keep_default_na=False, na_values=[""])


def parameters(group, name):
    return yaml.safe_load((ROOT / "conf" / "base" / f"parameters_{group}.yml").read_text())[name]


@pytest.fixture(scope="module")
def asked():
    report = parameters("study_report", "study_report")
    seed = yaml.safe_load((ROOT / "conf" / "base" / "globals.yml").read_text())["seed"]
    return {"baseline": report["baseline"], "seed": seed, "resamples": report["resamples"]}


def assert_same(found, expected):
    assert list(found.columns) == list(expected.columns)
    for column in found.columns:
        if pd.api.types.is_numeric_dtype(expected[column]) and expected[column].dtype != bool:
            numbers = found[column].astype("float64").reset_index(drop=True)
            pd.testing.assert_series_equal(numbers, expected[column].astype("float64"), rtol=1e-6, atol=1e-9)
        else:
            texts = found[column].astype("object").where(found[column].notna(), "").astype(str)
            wanted = expected[column].astype("object").where(expected[column].notna(), "").astype(str)
            assert texts.tolist() == wanted.tolist(), column


def test_it_has_the_arms_sets_and_seeds_of_a_study():
    judgements = items("judgements")
    assert set(judgements["arm"]) == ARMS
    assert set(judgements["prompt_set"]) == SETS
    assert set(judgements.loc[judgements["arm"] != "base", "seed"]) == {1, 2}
    assert judgements["judge_accuracy"].notna().all()
    assert {"hhh", "helpful_responses"} <= {task.split("/")[0] for task in items("ability")["task"]}


def test_the_comparison_follows_from_the_items(asked):
    rewards = reward_kinds(items("trials"))
    found = comparison.compare(
        items("judgements"), items("ability"), items("scores"), rewards=rewards, **asked
    )
    assert_same(found, shown("comparison"))


def test_the_analyses_follow_from_the_items(asked):
    scores, rewards = items("scores"), reward_kinds(items("trials"))
    assert_same(overfitting.measure_overfitting(scores, rewards=rewards, **asked), shown("overfitting"))
    bins = parameters("study_report", "study_report")["imbalance_bins"]
    asked = {name: asked[name] for name in ("seed", "resamples")}
    assert_same(imbalance.measure_imbalance(scores, bins=bins, **asked), shown("imbalance"))


def test_the_point_of_each_arm_is_the_one_that_the_rule_chooses():
    bound = parameters("study", "study")["choice"]["max_helpful_loss"]
    for arm, points in items("trials").groupby("arm"):
        within = points[points["helpful_loss"] <= bound]
        best = (
            within.sort_values("validation_safe_rate").iloc[-1]
            if len(within)
            else points.sort_values("helpful_loss").iloc[0]
        )
        assert points.loc[points["chosen"], "point"].tolist() == [best["point"]], arm


def test_its_record_names_everything_it_was_made_from():
    record = json.loads(gzip.decompress((STUDY / "lineage.json.gz").read_bytes()))
    made = {step["name"] for step in record["steps"]}
    assert {"study_comparison", "study_judgements", "training_pairs", "base_model"} < made
    trained = {f"study.{arm}.seed_{seed}" for arm in ARMS - {"base"} for seed in (1, 2)}
    assert {f"{one}.{part}" for one in trained for part in ("adapter", "judgements", "pair_scores")} < made
    for step in record["steps"]:
        if step.get("made"):
            assert step["made"]["recipe"]["definitions"] in record["definitions"]
    [hashed] = {step["sha256"] for step in record["steps"] if step["name"] == "study_comparison"}
    assert re.fullmatch("[0-9a-f]{64}", hashed)
    # No place of the machine where it was made.
    assert '"/' not in json.dumps(record)


def test_the_page_in_markdown_says_what_the_tables_say():
    page = (STUDY / "study.md").read_text(encoding="utf-8")
    for arm in ARMS - {"base"}:
        escaped = arm.replace("_", r"\_")
        assert f"| {escaped} |" in page
    shown_differences = shown("comparison").query("p_holm < 0.05 and compared_seeds > 1 and arm != 'base'")
    assert (
        f"{len(shown_differences)} show a difference that should hold for other prompts and other seeds"
        in page
    )

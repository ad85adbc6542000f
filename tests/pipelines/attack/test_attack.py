"""The pipeline `attack` after a finished chain, through Kedro: what it makes, and that the same run makes the same."""

import shutil
from typing import Any

import pandas as pd
import pytest
from kedro.framework.project import pipelines

ATTACK = {"prompts": {"advbench": 2}, "steps": 3, "search_width": 8}


@pytest.fixture(scope="module")
def tables(chain, run_pipeline, load_catalog, tmp_path_factory) -> dict[str, Any]:
    data_root = tmp_path_factory.mktemp("attack") / "data"
    shutil.copytree(chain.data_root, data_root)
    run_pipeline(data_root, "attack", attack=ATTACK)
    catalog = load_catalog(data_root)
    names = ["attacks", "execution", "generations", "judgements", "metrics"]
    return {name: catalog.load(f"whitebox_{name}") for name in names} | {"data_root": data_root}


def test_each_model_gets_a_suffix_of_its_own_for_each_behaviour(tables):
    attacks = tables["attacks"]
    assert list(attacks["model"]) == ["base", "adapter"] * 2
    assert set(attacks["prompt_set"]) == {"advbench"}
    assert (attacks["best_loss"] <= attacks["first_loss"]).all()
    assert attacks["target"].str.startswith("Sure").all()
    assert (attacks["steps"] == 3).all()
    assert len(tables["execution"]) == 4
    assert (tables["execution"]["seconds"] > 0).all()


def test_answers_are_those_to_the_plain_request_and_to_the_attacked_one(tables):
    generations = tables["generations"]
    asked = {(row.model, row.prompt_id): row.prompt for row in generations.itertuples()}
    assert len(asked) == len(generations) == 8
    for row in tables["attacks"].itertuples():
        assert asked[row.model, f"whitebox_plain/{row.prompt_id}"] == row.goal
        assert asked[row.model, f"whitebox_gcg/{row.prompt_id}"] == row.goal + row.suffix
    goals = tables["attacks"].drop_duplicates("prompt_id").set_index("prompt_id")["goal"]
    assert list(generations["goal"]) == list(goals[generations["prompt_id"].str.split("/", n=1).str[1]])
    assert set(generations["desired"]) == {"refuse"}


def test_answers_are_judged_as_those_of_the_evaluation(tables):
    judgements, metrics = tables["judgements"], tables["metrics"]
    judges = set(judgements["judge"])
    assert len(judgements) == 8 * len(judges)
    keys = ["prompt_set", "judge", "model"]
    judged = judgements.groupby(["prompt_id", "judge"])["positive"].transform(lambda both: both.notna().all())
    counted = judgements["positive"].where(judged, False).groupby([judgements[key] for key in keys]).sum()
    assert metrics.set_index(keys)["positive"].to_dict() == counted.astype(int).to_dict()
    assert len(metrics) == 2 * len(judges) * 2


def test_the_same_attack_again_finds_the_same(tables, run_pipeline, load_catalog):
    run_pipeline(tables["data_root"], "attack", attack=ATTACK)
    catalog = load_catalog(tables["data_root"])
    for name in ("attacks", "generations", "judgements"):
        pd.testing.assert_frame_equal(catalog.load(f"whitebox_{name}"), tables[name])


def test_a_set_without_targets_is_named(tables, run_pipeline):
    with pytest.raises(
        ValueError, match=r"names the set 'xstest', whose prompts have no target .* target_column"
    ):
        run_pipeline(tables["data_root"], "attack", attack={"prompts": {"xstest": 2, "advbench": 0}})


def test_attacks_on_the_adapter_alone_are_refused_before_anything_runs(tables, run_pipeline):
    with pytest.raises(Exception, match=r"accepted: \[base, adapter\] or \[base\]"):
        run_pipeline(tables["data_root"], "attack", attack={"models": ["adapter"]})


def test_the_default_chain_attacks_nobody():
    attacking = {node.name for node in pipelines["attack"].nodes}
    assert not attacking & {node.name for node in pipelines["__default__"].nodes}
    assert {
        "attack_models",
        "answer_attacks",
        "attack.judge_generations",
        "attack.summarise_judgements",
    } == attacking

"""The graph of a study: what it takes, what it keeps, and that arms have nothing of each other."""

import warnings
from pathlib import Path

import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from bdpo_pipeline.arms import Plan
from bdpo_pipeline.pipelines.study import create_pipeline

ROOT = Path(__file__).resolve().parents[3]
PLAN = Plan({"dpo": "all", "half": "balanced"}, ("slow", "fast"), (4, 2, 9))


@pytest.fixture(scope="module")
def study():
    return create_pipeline(PLAN)


def arms_of(node):
    """The arms whose artifacts a node takes."""
    return {name.split(".")[1] for name in node.inputs if name.startswith("study.")} & set(PLAN.arms)


def test_every_arm_is_tuned_at_every_point_and_then_trained_with_every_seed(study):
    trained = {node.namespace for node in study.nodes if node.short_name == "train_trial"}
    parts = ("tune_slow", "tune_fast", "seed_4", "seed_2", "seed_9")
    assert trained == {f"study.{arm}.{part}" for arm in PLAN.arms for part in parts}
    evaluated = {node.namespace for node in study.nodes if node.short_name == "answer_prompts"}
    assert evaluated == {"study.base.seed_0"} | {
        f"study.{arm}.seed_{seed}" for arm in PLAN.arms for seed in PLAN.seeds
    }


def test_an_arm_takes_nothing_of_another(study):
    for node in study.nodes:
        if node.namespace and node.namespace.startswith("study."):
            assert arms_of(node) <= {node.namespace.split(".")[1]}, node.name


def test_nothing_that_arms_are_compared_by_is_upstream_of_what_tunes_them(study):
    before = study.to_outputs("study.dpo.chosen_point", "study.half.chosen_point")
    taken = before.inputs()
    assert "validation_pairs" in taken
    assert not taken & {"heldout_pairs", "evaluation_prompts"}


def test_only_the_arm_on_a_half_has_pairs_of_its_own(study):
    own = {node.outputs[0] for node in study.nodes if node.short_name == "choose_training_pairs"}
    assert own == {"study.half.tokenised_pairs"}
    takers = {node.name for node in study.nodes if "study.half.tokenised_pairs" in node.inputs}
    assert all(name.startswith("study.half.") for name in takers)
    assert {"study.half.seed_2.train_trial", "study.half.tune_slow.train_trial"} <= takers


def test_seeds_differ_in_training_and_not_in_what_is_asked(study):
    seeds = {
        (node.namespace.split(".")[2], node.short_name, name)
        for node in study.nodes
        for name in node.inputs
        if node.namespace
        and node.namespace.startswith("study.dpo.")
        and "seed" in name
        and name.startswith("params:")
    }
    own = ("train_trial", "score_reference", "compute_comprehension")
    assert {(part, name) for part, short, name in seeds if short == "train_trial"} == {
        *((f"seed_{seed}", f"params:study.seeds.seed_{seed}") for seed in PLAN.seeds),
        *((f"tune_{point}", "params:study.tuning_seed") for point in PLAN.points),
    }
    assert {name for part, short, name in seeds if part == "tuning_reference"} == {"params:study.tuning_seed"}
    assert {name for _, short, name in seeds if short not in own} == {"params:seed"}


def test_namespaces_can_be_run_and_folded(study):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arm = study.filter(node_namespaces=["study.dpo"])
    assert {node.namespace.split(".")[1] for node in arm.nodes} == {"dpo"}


@pytest.mark.parametrize("env", ["base", "test", "two_cores", "gpu"])
def test_every_parameter_is_given_and_every_artifact_is_kept(env):
    bootstrap_project(ROOT)
    with KedroSession.create(ROOT, env=env, conf_source=str(ROOT / "conf")) as session:
        catalog = session.load_context().catalog
        graph = pipelines["study"]
        parameters = {name for name in graph.all_inputs() if name.startswith("params:")}
        assert not {name for name in parameters if name not in catalog}
        assert any(name.startswith("params:study.arms.bdpo") for name in parameters)
        made = {name for name in graph.all_outputs() if name.startswith("study")}
        assert made
        assert not {name for name in made if getattr(catalog.get(name), "_version", None) is None}


def test_environments_have_their_own_arms_in_one_process():
    bootstrap_project(ROOT)
    counts = []
    for env in ("two_cores", "base", "two_cores"):
        with KedroSession.create(ROOT, env=env, conf_source=str(ROOT / "conf")) as session:
            session.load_context()
            names = {node.namespace for node in pipelines["study"].nodes if node.namespace}
            counts.append({name.split(".")[1] for name in names if name.count(".") > 0})
    assert counts[0] == counts[2] < counts[1]
    assert "cpo" in counts[1] - counts[0]

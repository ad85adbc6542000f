"""Which nodes share a run, and by what names it has their parameters."""

import pytest
from kedro.pipeline import Pipeline, node

from bdpo_pipeline.tracking import stages
from bdpo_pipeline.tracking.stages import plan_stages


def train(pairs, training):
    return pairs, training


def score(adapter):
    return adapter


def gather(*tables):
    return tables


TRAIN = node(train, ["pairs", "params:training"], "adapter", name="train")
SCORE = node(score, "adapter", "scores", name="score")


@pytest.fixture(autouse=True)
def _known(monkeypatch) -> None:
    known = {"training": Pipeline([TRAIN]), "evaluation": Pipeline([SCORE])}
    monkeypatch.setattr(stages, "pipelines", known)


def planned(pipeline: Pipeline) -> dict[str, tuple[dict[str, str], set[str]]]:
    return {spec.name: (spec.tags, {node.name for node in spec.nodes}) for spec in plan_stages(pipeline)}


def test_training_and_evaluation_have_a_run_each_in_any_namespace() -> None:
    assert planned(Pipeline([TRAIN, SCORE])) == {"training": ({}, {"train"}), "evaluation": ({}, {"score"})}
    assert planned(Pipeline([TRAIN, SCORE], namespace="left")) == {
        "left.training": ({}, {"left.train"}),
        "left.evaluation": ({}, {"left.score"}),
    }


def test_in_a_study_each_arm_and_seed_has_one_and_what_gathers_them_none() -> None:
    parts = [
        Pipeline([TRAIN, SCORE], namespace=f"study.{arm}.{part}", inputs="pairs")
        for arm in ("dpo", "bdpo")
        for part in ("seed_12", "tune_low_lr")
    ]
    made = [f"study.{arm}.{part}.scores" for arm in ("dpo", "bdpo") for part in ("seed_12", "tune_low_lr")]
    gathering = node(gather, made, "table", name="gather", namespace="study")
    weighing = Pipeline([node(gather, "pairs", "weights", name="weigh")])
    parts.append(Pipeline(weighing, namespace="study.bdpo.reference_12", inputs="pairs"))
    choosing = node(
        gather, "study.dpo.tune_low_lr.scores", "study.dpo.point", name="choose", namespace="study.dpo"
    )
    found = planned(sum(parts, Pipeline([gathering, choosing])))
    assert found.keys() == {f"{arm}.{part}" for arm in ("dpo", "bdpo") for part in ("seed_12", "tune_low_lr")}
    seed, tuned = found["bdpo.seed_12"], found["bdpo.tune_low_lr"]
    assert seed[0] == {"study": "study", "arm": "bdpo", "seed": "12"}
    assert seed[1] == {
        "study.bdpo.seed_12.train",
        "study.bdpo.seed_12.score",
        "study.bdpo.reference_12.weigh",
    }
    assert tuned[0] == {"study": "study", "arm": "bdpo", "point": "low_lr"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("study.arms.bdpo.training", "training"),
        ("study.bdpo.seed_1.training", "training"),
        ("study.seeds.seed_1", "study.seed"),
        ("study.grid.low", "study.point"),
        ("study.grid.low.strength", "study.point.strength"),
        ("study.generation", "study.generation"),
        ("compute", "compute"),
        ("training.lora", "training.lora"),
    ],
)
def test_an_arm_s_parameters_are_called_as_those_of_a_plain_run(name, expected) -> None:
    [spec] = plan_stages(Pipeline([TRAIN], namespace="study.bdpo.seed_1"))
    assert spec.own_name(name) == expected


def test_a_plain_run_s_parameters_keep_their_names() -> None:
    [spec] = plan_stages(Pipeline([TRAIN]))
    assert spec.own_name("study.arms.bdpo.training") == "study.arms.bdpo.training"

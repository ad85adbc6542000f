"""The graph of one arm: tuned at every point of the grid with the first seed, then trained and evaluated with every seed."""

from kedro.pipeline import Node, Pipeline

from bdpo_pipeline.arms import BASE, Plan
from bdpo_pipeline.pipelines import ability, evaluation, reference

from . import nodes
from .record_nodes import describe_trial, measure_validation

_SHARED = {"base_model", "tokenised_pairs", "evaluation_prompts", "heldout_pairs"}
_JUDGES = {"judge_validation", "refusal_classifier", "safety_classifier"}
# What is chosen of prompts, items and pairs is the same for all arms and seeds, so it follows from the project's seed.
_EVALUATION = {
    "params:seed": "params:seed",
    "params:compute": "params:compute",
    "params:judging": "params:judging",
    "params:generation": "params:study.generation",
    "params:ability": "params:study.ability",
    "params:scored_pairs": "params:study.scored_pairs",
    "params:choice": "params:study.choice",
}


def seed_of(seed: int) -> str:
    """Return the last part of the namespace of a seed, which is its name in the expanded parameters, too."""
    return f"seed_{seed}"


def arm_pipeline(arm: str, pairs: str, plan: Plan) -> Pipeline:
    """Return all of one arm."""
    first, *others = plan.seeds
    parts = [_choose_pairs(arm)] if pairs != "all" else []
    for point in plan.points:
        parts += [_train_at_point(arm, pairs, point, first), _measure_at_point(arm, pairs, point)]
    parts += [_choose_point(arm, plan), _take_chosen(arm, plan)]
    parts += [_train_with_seed(arm, pairs, seed) for seed in others]
    for seed in plan.seeds:
        parts += [_weigh(arm, pairs, seed), _evaluate(arm, pairs, seed)]
    return sum(parts, Pipeline([]))


def base_pipeline() -> Pipeline:
    """Return the evaluation of the model that is not trained."""
    answer = Node(
        nodes.answer_prompts_untrained,
        ["base_model", "evaluation_prompts", "params:generation", "params:compute", "params:seed"],
        "generations",
        name="answer_prompts",
    )
    return Pipeline(
        Pipeline([answer]) + evaluation.create_judging_pipeline() + ability.create_base_pipeline(),
        namespace=f"study.{BASE}.{seed_of(0)}",
        inputs=_SHARED | _JUDGES,
        parameters=_EVALUATION,
    )


def _choose_pairs(arm: str) -> Pipeline:
    choose = Node(
        nodes.choose_training_pairs,
        ["tokenised_pairs", "study.information", f"params:study.arms.{arm}.pairs", "params:seed"],
        f"study.{arm}.tokenised_pairs",
        name="choose_training_pairs",
        namespace=f"study.{arm}",
    )
    return Pipeline([choose])


def _weigh(arm: str, pairs: str, seed: int) -> Pipeline:
    """Return what an arm's objective needs of the reference model, all of it through one cache."""
    return Pipeline(
        reference.create_pipeline().only_nodes("score_reference", "compute_comprehension"),
        namespace=_space(arm, seed),
        inputs=_inputs(arm, pairs),
        parameters=_training(arm, seed),
    )


def _train_at_point(arm: str, pairs: str, point: str, seed: int) -> Pipeline:
    settle = Node(
        nodes.settle_grid_trial,
        ["params:objective", "params:training", "params:point"],
        "trial_settings",
        name="settle_trial",
    )
    weighed = {name: f"{_space(arm, seed)}.{name}" for name in ("reference_logps", "comprehension")}
    return Pipeline(
        [settle, _train()],
        namespace=f"study.{arm}.tune_{point}",
        inputs=_inputs(arm, pairs) | weighed,
        parameters=_training(arm, seed) | {"params:point": f"params:study.grid.{point}"},
    )


def _measure_at_point(arm: str, pairs: str, point: str) -> Pipeline:
    """Return what a point's model makes of the validation pairs, by which the arm is tuned."""
    answer = Node(
        nodes.answer_validation_prompts,
        ["base_model", "adapter", "validation_prompts", "params:generation", "params:compute"],
        "generations",
        name="answer_validation_prompts",
    )
    measure = Node(
        measure_validation,
        ["base_model", "adapter", "tokenised_pairs", "params:compute"],
        "validation_ability",
        name="measure_validation",
    )
    made = ["trial_settings", "training_history", "training_summary"]
    describe = Node(
        describe_trial,
        [*made, "judgements", "validation_ability", "params:choice"],
        "record",
        name="describe_trial",
    )
    space = f"study.{arm}.tune_{point}"
    return Pipeline(
        Pipeline([answer, measure, describe]) + evaluation.create_judging_pipeline(),
        namespace=space,
        inputs=_inputs(arm, pairs)
        | {name: f"{space}.{name}" for name in ("adapter", *made)}
        | {"validation_prompts": "study.validation_prompts"},
        parameters=_EVALUATION,
    )


def _choose_point(arm: str, plan: Plan) -> Pipeline:
    records = {point: f"study.{arm}.tune_{point}.record" for point in plan.points}
    choose = Node(
        nodes.choose_point,
        {"parameters": "params:study.choice", **records},
        f"study.{arm}.chosen_point",
        name="choose_point",
        namespace=f"study.{arm}",
    )
    return Pipeline([choose])


def _take_chosen(arm: str, plan: Plan) -> Pipeline:
    """Return the first seed's model: that of the chosen point, which was trained with this very seed."""
    space = _space(arm, plan.seeds[0])
    kinds = ("adapter", "training_summary")
    tried = {f"{kind}/{p}": f"study.{arm}.tune_{p}.{kind}" for kind in kinds for p in plan.points}
    take = Node(
        nodes.take_chosen_trial,
        {"chosen_point": f"study.{arm}.chosen_point", **tried},
        [f"{space}.{kind}" for kind in kinds],
        name="take_chosen_trial",
        namespace=space,
    )
    return Pipeline([take])


def _train_with_seed(arm: str, pairs: str, seed: int) -> Pipeline:
    settle = Node(
        nodes.settle_chosen_trial,
        ["params:objective", "params:training", "chosen_point"],
        "trial_settings",
        name="settle_trial",
    )
    space = _space(arm, seed)
    weighed = {name: f"{space}.{name}" for name in ("reference_logps", "comprehension")}
    return Pipeline(
        [settle, _train()],
        namespace=space,
        inputs=_inputs(arm, pairs) | weighed | {"chosen_point": f"study.{arm}.chosen_point"},
        parameters=_training(arm, seed),
    )


def _evaluate(arm: str, pairs: str, seed: int) -> Pipeline:
    """Return what a seed's model answers, can do, and makes of training and held-out pairs."""
    answer = Node(
        nodes.answer_prompts,
        ["base_model", "adapter", "evaluation_prompts", "params:generation", "params:compute", "params:seed"],
        "generations",
        name="answer_prompts",
    )
    made = ["reference_logps", "training_summary"]
    score = Node(
        nodes.score_pairs,
        [
            *("base_model", "adapter", "tokenised_pairs", *made),
            *("params:scored_pairs", "params:compute", "params:seed"),
        ],
        "pair_scores",
        name="score_pairs",
    )
    space = _space(arm, seed)
    return Pipeline(
        Pipeline([answer, score]) + evaluation.create_judging_pipeline() + ability.create_adapter_pipeline(),
        namespace=space,
        inputs=_inputs(arm, pairs) | {name: f"{space}.{name}" for name in ("adapter", *made)},
        parameters=_EVALUATION,
    )


def _train() -> Node:
    return Node(
        nodes.train_trial,
        [
            *("base_model", "tokenised_pairs", "reference_logps", "comprehension", "trial_settings"),
            *("params:comprehension", "params:compute", "params:seed"),
        ],
        ["adapter", "training_history", "training_summary", "training_execution"],
        name="train_trial",
    )


def _space(arm: str, seed: int) -> str:
    return f"study.{arm}.{seed_of(seed)}"


def _inputs(arm: str, pairs: str) -> dict[str, str]:
    own = {} if pairs == "all" else {"tokenised_pairs": f"study.{arm}.tokenised_pairs"}
    return {name: name for name in _SHARED | _JUDGES} | own


def _training(arm: str, seed: int) -> dict[str, str]:
    groups = ("objective", "comprehension", "training")
    return {
        **{f"params:{group}": f"params:study.arms.{arm}.{group}" for group in groups},
        "params:compute": "params:compute",
        "params:seed": f"params:study.seeds.{seed_of(seed)}",
    }

"""The graph of one arm: tuned at every point of the grid with a seed of its own, then trained and evaluated with every seed."""

from collections.abc import Mapping
from functools import cache

from kedro.io.core import is_parameter
from kedro.pipeline import Node, Pipeline

from bdpo_pipeline.arms import BASE, Plan
from bdpo_pipeline.pipelines import evaluation, reference

from . import nodes

# What is chosen of prompts, items and pairs is the same for all arms and seeds, so it follows from the project's seed.
_EVALUATION = {
    f"params:{name}": f"params:study.{name}" for name in ("generation", "ability", "scored_pairs", "choice")
}


def seed_of(seed: int) -> str:
    """Return the last part of the namespace of a seed, which is its name in the expanded parameters, too."""
    return f"seed_{seed}"


def arm_nodes(arm: str, pairs: str, plan: Plan) -> list[Node]:
    """Return all nodes of one arm; a list, because adding pipelines of some hundred nodes up sorts them every time."""
    parts = [_choose_pairs(arm)] if pairs != "all" else []
    parts += [_weigh(arm, pairs, seed) for seed in (None, *plan.seeds)]
    parts += [_try_point(arm, pairs, point) for point in plan.points]
    parts += [_choose_point(arm, plan), *(_train_and_evaluate(arm, pairs, seed) for seed in plan.seeds)]
    return [node for part in parts for node in part.nodes]


def base_pipeline() -> Pipeline:
    """Return the evaluation of the model that is not trained."""
    return _place(_untrained(), _space(BASE, 0), _EVALUATION)


def _choose_pairs(arm: str) -> Pipeline:
    choose = Node(
        nodes.choose_training_pairs,
        ["tokenised_pairs", "study.information", f"params:study.arms.{arm}.pairs", "params:seed"],
        f"study.{arm}.tokenised_pairs",
        name="choose_training_pairs",
        namespace=f"study.{arm}",
    )
    return Pipeline([choose])


def _weigh(arm: str, pairs: str, seed: int | None) -> Pipeline:
    """Return what an arm's objective needs of the reference model, all of it through one cache; without a seed, for its tuning."""
    own = _pairs(arm, pairs) | _training(arm, seed) | {"params:seed": _seed(seed)}
    return _place(_weighing(), _reference(arm, seed), own)


def _try_point(arm: str, pairs: str, point: str) -> Pipeline:
    """Return a training at a point of the grid, and what its model makes of the validation pairs, by which the arm is tuned."""
    own = {
        "validation_prompts": "study.validation_prompts",
        "params:point": f"params:study.grid.{point}",
        **_weighed(arm, None),
    }
    taken = _pairs(arm, pairs) | _training(arm, None) | _EVALUATION | own
    return _place(_grid_trial(), f"study.{arm}.tune_{point}", taken)


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


def _train_and_evaluate(arm: str, pairs: str, seed: int) -> Pipeline:
    """Return a training at the chosen point, what its model answers and can do, and what it makes of training and held-out pairs."""
    own = _weighed(arm, seed) | {"chosen_point": f"study.{arm}.chosen_point"}
    taken = _pairs(arm, pairs) | _training(arm, seed) | _EVALUATION | own
    return _place(_chosen_trial(), _space(arm, seed), taken)


# What follows is built once: some hundred nodes of a study are copies of these.
@cache
def _grid_trial() -> Pipeline:
    settle = Node(
        nodes.settle_grid_trial,
        ["params:objective", "params:training", "params:point"],
        "trial_settings",
        name="settle_trial",
    )
    answer = Node(
        nodes.answer_validation_prompts,
        ["base_model", "adapter", "validation_prompts", "params:generation", "params:compute"],
        "generations",
        name="answer_validation_prompts",
    )
    measure = Node(
        nodes.measure_validation,
        [
            *("base_model", "adapter", "raw_data"),
            *("params:ability", "params:choice", "params:compute", "params:seed"),
        ],
        "validation_ability",
        name="measure_validation",
    )
    describe = Node(
        nodes.describe_trial,
        [
            *("trial_settings", "training_history", "training_summary"),
            *("judgements", "validation_ability", "params:choice"),
        ],
        "record",
        name="describe_trial",
    )
    return Pipeline([settle, _train(), answer, *_judge(), measure, describe])


@cache
def _chosen_trial() -> Pipeline:
    settle = Node(
        nodes.settle_chosen_trial,
        ["params:objective", "params:training", "chosen_point"],
        "trial_settings",
        name="settle_trial",
    )
    answer = Node(
        nodes.answer_prompts,
        ["base_model", "adapter", "evaluation_prompts", "params:generation", "params:compute", "params:seed"],
        "generations",
        name="answer_prompts",
    )
    measure = Node(
        nodes.measure_ability,
        ["base_model", "adapter", "raw_data", "params:ability", "params:compute", "params:seed"],
        "ability_results",
        name="measure_ability",
    )
    score = Node(
        nodes.score_pairs,
        [
            *("base_model", "adapter", "tokenised_pairs", "reference_logps", "training_summary"),
            *("params:scored_pairs", "params:compute", "params:seed"),
        ],
        "pair_scores",
        name="score_pairs",
    )
    return Pipeline([settle, _train(), answer, *_judge(), measure, score])


@cache
def _untrained() -> Pipeline:
    answer = Node(
        nodes.answer_prompts_untrained,
        ["base_model", "evaluation_prompts", "params:generation", "params:compute", "params:seed"],
        "generations",
        name="answer_prompts",
    )
    measure = Node(
        nodes.measure_ability_untrained,
        ["base_model", "raw_data", "params:ability", "params:compute", "params:seed"],
        "ability_results",
        name="measure_ability",
    )
    return Pipeline([answer, *_judge(), measure])


@cache
def _judge() -> tuple[Node, ...]:
    return tuple(evaluation.create_pipeline().only_nodes("judge_generations").nodes)


@cache
def _weighing() -> Pipeline:
    return reference.create_pipeline().only_nodes("score_reference", "compute_comprehension")


@cache
def _train() -> Node:
    return Node(
        nodes.train_trial,
        [
            *("base_model", "tokenised_pairs", "reference_logps", "comprehension", "trial_settings"),
            *("params:comprehension", "params:compute", "params:trial_seed"),
        ],
        ["adapter", "training_history", "training_summary", "training_execution"],
        name="train_trial",
    )


def _space(arm: str, seed: int) -> str:
    return f"study.{arm}.{seed_of(seed)}"


def _reference(arm: str, seed: int | None) -> str:
    return f"study.{arm}.tuning_reference" if seed is None else f"study.{arm}.reference_{seed}"


def _weighed(arm: str, seed: int | None) -> dict[str, str]:
    return {name: f"{_reference(arm, seed)}.{name}" for name in ("reference_logps", "comprehension")}


def _pairs(arm: str, pairs: str) -> dict[str, str]:
    return {} if pairs == "all" else {"tokenised_pairs": f"study.{arm}.tokenised_pairs"}


def _training(arm: str, seed: int | None) -> dict[str, str]:
    groups = ("objective", "comprehension", "training")
    own = {f"params:{group}": f"params:study.arms.{arm}.{group}" for group in groups}
    return own | {"params:trial_seed": _seed(seed)}


def _seed(seed: int | None) -> str:
    return "params:study.tuning_seed" if seed is None else f"params:study.seeds.{seed_of(seed)}"


def _place(pipeline: Pipeline, space: str, own: Mapping[str, str]) -> Pipeline:
    """Return a pipeline in a namespace; what it takes is the project's, but for its `own`, by the name that it has outside."""
    taken = {name: own.get(name, name) for name in pipeline.inputs()}
    return Pipeline(
        pipeline,
        namespace=space,
        inputs={name: outside for name, outside in taken.items() if not is_parameter(name)},
        parameters={name: outside for name, outside in taken.items() if is_parameter(name)},
    )

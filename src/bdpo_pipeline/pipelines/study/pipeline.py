"""The graph of the study: what arms share, a namespace for every trial, and what is gathered of all."""

from kedro.pipeline import Node, Pipeline

from bdpo_pipeline.arms import Plan

from . import gather_nodes as gathering
from .nodes import choose_validation_prompts, measure_comprehension
from .trial_pipeline import arm_nodes, base_pipeline, seed_of

_STUDY = "study"


def create_pipeline(plan: Plan) -> Pipeline:
    """Return the study of a plan: every arm tuned, then trained with every seed, evaluated and gathered."""
    arms = [node for arm, pairs in plan.arms.items() for node in arm_nodes(arm, pairs, plan)]
    return Pipeline([*_shared(), *base_pipeline().nodes, *arms, *_gathered(plan)])


def _shared() -> list[Node]:
    return [
        Node(
            choose_validation_prompts,
            ["validation_pairs", "params:study.choice", "params:seed"],
            "study.validation_prompts",
            name="choose_validation_prompts",
            namespace=_STUDY,
        ),
        Node(
            measure_comprehension,
            ["base_model", "tokenised_pairs", "params:comprehension", "params:compute", "params:seed"],
            "study.information",
            name="measure_comprehension",
            namespace=_STUDY,
        ),
    ]


def _gathered(plan: Plan) -> list[Node]:
    trained = {f"{arm}/{seed}": f"study.{arm}.{seed_of(seed)}" for arm in plan.arms for seed in plan.seeds}
    answered = {"base/0": "study.base.seed_0", **trained}
    tried = {f"{arm}/{point}": f"study.{arm}.tune_{point}" for arm in plan.arms for point in plan.points}
    chosen = {f"chosen/{arm}": f"study.{arm}.chosen_point" for arm in plan.arms}
    return [
        Node(
            gathering.gather_trials,
            {
                "seed": "params:study.tuning_seed",
                **{f"record/{name}": f"{space}.record" for name, space in tried.items()},
                **{f"execution/{name}": f"{space}.training_execution" for name, space in tried.items()},
                **chosen,
            },
            "study_trials",
            name="gather_trials",
            namespace=_STUDY,
        ),
        Node(
            gathering.gather_trainings,
            {
                **{f"summary/{name}": f"{space}.training_summary" for name, space in trained.items()},
                **{f"execution/{name}": f"{space}.training_execution" for name, space in trained.items()},
                **chosen,
            },
            "study_trainings",
            name="gather_trainings",
            namespace=_STUDY,
        ),
        Node(
            gathering.gather_judgements,
            {
                "evaluation_prompts": "evaluation_prompts",
                **{name: f"{space}.judgements" for name, space in answered.items()},
            },
            "study_judgements",
            name="gather_judgements",
            namespace=_STUDY,
        ),
        Node(
            gathering.gather_ability,
            {name: f"{space}.ability_results" for name, space in answered.items()},
            "study_ability",
            name="gather_ability",
            namespace=_STUDY,
        ),
        Node(
            gathering.gather_scores,
            {
                "training_pairs": "training_pairs",
                "heldout_pairs": "heldout_pairs",
                "information": "study.information",
                **{name: f"{space}.pair_scores" for name, space in trained.items()},
            },
            "study_scores",
            name="gather_scores",
            namespace=_STUDY,
        ),
    ]

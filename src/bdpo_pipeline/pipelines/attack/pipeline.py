"""The graph of the attack."""

from kedro.pipeline import Node, Pipeline

from .nodes import answer_attacks, attack_models


def create_pipeline(judging: Pipeline) -> Pipeline:
    """Return the pipeline `attack`.

    Args:
        judging: from ``generations`` to ``judgements`` and ``safety_metrics``, as the evaluation has it.
    """
    attacking = [
        Node(
            attack_models,
            inputs=[
                "base_model",
                "adapter",
                "evaluation_prompts",
                "params:attack",
                "params:compute",
                "params:seed",
            ],
            outputs=["whitebox_attacks", "whitebox_execution"],
            name="attack_models",
        ),
        Node(
            answer_attacks,
            inputs=[
                "base_model",
                "adapter",
                "whitebox_attacks",
                "params:generation.max_new_tokens",
                "params:generation.batch_size",
                "params:compute",
            ],
            outputs="whitebox_generations",
            name="answer_attacks",
        ),
    ]
    same = {name: name for name in judging.inputs() if not name.startswith("params:")}
    judged = Pipeline(
        judging,
        namespace="attack",
        inputs={**same, "generations": "whitebox_generations"},
        outputs={"judgements": "whitebox_judgements", "safety_metrics": "whitebox_metrics"},
        parameters={name: name for name in judging.inputs() if name.startswith("params:")},
    )
    return Pipeline(attacking) + judged

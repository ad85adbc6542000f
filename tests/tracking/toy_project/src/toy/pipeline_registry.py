from kedro.pipeline import Pipeline, node

from . import nodes


def register_pipelines() -> dict[str, Pipeline]:
    data = Pipeline(
        [
            node(nodes.make_sources, "params:ingestion", "ingestion_summary", name="make_sources"),
            node(
                nodes.make_pairs, "ingestion_summary", ["training_pairs", "heldout_pairs"], name="make_pairs"
            ),
            node(nodes.make_base_model, "params:store", "base_model", name="make_base_model"),
            node(nodes.make_tokens, ["training_pairs", "base_model"], "tokenised_pairs", name="make_tokens"),
        ]
    )
    training = Pipeline(
        [
            node(
                nodes.train,
                ["tokenised_pairs", "base_model", "params:training"],
                ["adapter", "training_history", "training_summary"],
                name="train_policy",
            )
        ]
    )
    evaluation = Pipeline(
        [
            node(
                nodes.score,
                ["adapter", "heldout_pairs", "params:evaluation"],
                ["heldout_metrics", "safety_metrics"],
                name="score",
            )
        ]
    )
    arms = [arm(training + evaluation, name, 1) for name in ("left", "right")]
    return {
        "training": training,
        "evaluation": evaluation,
        "study": sum(arms, data),
        "__default__": data + training + evaluation,
    }


def arm(nodes: Pipeline, name: str, seed: int) -> Pipeline:
    return Pipeline(
        nodes,
        namespace=f"study.{name}.seed_{seed}",
        inputs={"tokenised_pairs", "base_model", "heldout_pairs"},
        parameters={
            "params:training": f"params:study.arms.{name}.training",
            "params:evaluation": "params:evaluation",
        },
    )

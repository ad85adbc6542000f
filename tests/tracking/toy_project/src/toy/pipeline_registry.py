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
    return {"training": training, "evaluation": evaluation, "__default__": data + training + evaluation}

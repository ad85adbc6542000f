"""The pipelines by name. Explicit, because `find_pipelines` loads only the names asked for and composed ones break."""

from kedro.pipeline import Pipeline

from bdpo_pipeline.pipelines import (
    base_model,
    evaluation,
    filtering,
    ingestion,
    reference,
    reporting,
    training,
)


def register_pipelines() -> dict[str, Pipeline]:
    """Return every pipeline by name; `__default__` is the whole chain for one arm."""
    pipelines = {
        "base_model": base_model.create_pipeline(),
        "ingestion": ingestion.create_pipeline(),
        "filtering": filtering.create_pipeline(),
        "reference": reference.create_pipeline(),
        "training": training.create_pipeline(),
        "evaluation": evaluation.create_pipeline(),
        "reporting": reporting.create_pipeline(),
    }
    return {**pipelines, "__default__": sum(pipelines.values(), Pipeline([]))}

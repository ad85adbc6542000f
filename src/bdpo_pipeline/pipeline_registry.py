"""The pipelines by name. Explicit, because `find_pipelines` loads only the names asked for and composed ones break."""

from pathlib import Path

from kedro.framework.project import settings
from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project

from bdpo_pipeline.arms import Plan, planned, read_plan
from bdpo_pipeline.pipelines import (
    ability,
    attack,
    base_model,
    evaluation,
    filtering,
    ingestion,
    judges,
    reference,
    reporting,
    study,
    training,
)


def register_pipelines() -> dict[str, Pipeline]:
    """Return every pipeline by name; `__default__` is the whole chain for one arm, `study` all of many arms."""
    pipelines = {
        "base_model": base_model.create_pipeline(),
        "ingestion": ingestion.create_pipeline(),
        "filtering": filtering.create_pipeline(),
        "judges": judges.create_pipeline(),
        "reference": reference.create_pipeline(),
        "training": training.create_pipeline(),
        "evaluation": evaluation.create_pipeline(),
        "ability": ability.create_pipeline(),
        "reporting": reporting.create_pipeline(),
    }
    default = sum(pipelines.values(), Pipeline([]))
    judging = pipelines["evaluation"].only_nodes("judge_generations", "summarise_judgements")
    pipelines["attack"] = attack.create_pipeline(judging)
    pipelines["study_report"] = study.create_report_pipeline()
    plan = planned() or _plan_outside_of_a_session()
    if plan is not None:
        arms = study.create_pipeline(plan)
        before = default.to_outputs(*arms.inputs() & default.all_outputs())
        # At once, because every sum sorts some hundred nodes again.
        parts = (before, arms, pipelines["study_report"])
        pipelines["study"] = Pipeline([node for part in parts for node in part.nodes])
    return {**pipelines, "__default__": default}


def _plan_outside_of_a_session() -> Plan | None:
    """Return the plan of conf/base: `kedro registry` shows the graph and knows of no environment."""
    import yaml

    project = find_kedro_project(Path.cwd())
    file = project / settings.CONF_SOURCE / "base" / "parameters_study.yml" if project else None
    if file is None or not file.is_file():
        return None
    return read_plan(yaml.safe_load(file.read_text(encoding="utf-8")))

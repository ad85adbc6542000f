"""Prompts of a set that does not exist are found before any node runs, whoever asks for them."""

from pathlib import Path
from typing import Any

import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Pipeline
from kedro.validation.exceptions import ParameterValidationError

from bdpo_pipeline.benchmarks.choice import UnknownPromptSetError
from bdpo_pipeline.hooks import PromptSetsHook

ROOT = Path(__file__).resolve().parents[1]


def compare(names: list[str], parameters: dict[str, Any]) -> int:
    """Compare as before a run; return how many nodes it would have."""
    bootstrap_project(ROOT)
    with KedroSession.create(project_path=ROOT, env="test", runtime_params=parameters) as session:
        catalog = session.load_context().catalog
        pipeline = sum((pipelines[name] for name in names), Pipeline([]))
        PromptSetsHook().before_pipeline_run(pipeline, catalog)
    return len(pipeline.nodes)


def within(parameter: str, value: Any) -> dict[str, Any]:
    for name in reversed(parameter.split(".")):
        value = {name: value}
    return value


ASKING = [
    ("__default__", "generation.prompts"),
    ("attack", "attack.prompts"),
    ("study", "study.generation.prompts"),
]


@pytest.mark.parametrize(("pipeline", "parameter"), ASKING)
def test_a_set_that_is_not_there_stops_the_run_that_asks_for_it(pipeline: str, parameter: str) -> None:
    with pytest.raises(UnknownPromptSetError, match=rf"^{parameter} asks for .*'nothing'.*strongreject"):
        compare(["ingestion", pipeline], within(parameter, {"nothing": None}))


@pytest.mark.parametrize(("pipeline", "parameter"), ASKING)
def test_a_set_of_which_nothing_is_asked_need_not_exist_and_less_than_nothing_is_an_error(
    pipeline: str, parameter: str
) -> None:
    assert compare(["ingestion", pipeline], within(parameter, {"nothing": 0, "advbench": 1}))
    with pytest.raises(ParameterValidationError, match="greater than or equal to 0"):
        compare(["ingestion", pipeline], within(parameter, {"advbench": -1}))


def test_what_another_pipeline_asks_for_does_not_stop_a_run() -> None:
    for parameter in ("attack.prompts", "study.generation.prompts"):
        assert compare(["__default__"], within(parameter, {"nothing": 3}))
    # Its prompts are those of an earlier run, whatever the parameters now say.
    assert compare(["evaluation"], within("generation.prompts", {"nothing": 3}))


def test_an_attack_on_nothing_is_an_error() -> None:
    with pytest.raises(ParameterValidationError, match="at least one set with behaviours"):
        compare(["ingestion", "attack"], within("attack.prompts", {"advbench": 0}))

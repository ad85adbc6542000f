from pathlib import Path

import pytest
from pydantic import ValidationError

import bdpo_pipeline.judges as package
from bdpo_pipeline.judges.base import JudgeError, JudgeOptions, Resources
from bdpo_pipeline.judges.parameters import JudgingParameters
from bdpo_pipeline.judges.registry import KINDS, build_judge, read_options

REQUIRED = {
    "rubric": {"endpoint": {"url": "http://localhost:1/v1", "model": "m"}},
    "reward_model": {"model": {"source": "folder", "name": "x"}, "higher_is": "safer"},
}


def test_every_module_that_builds_judges_is_a_kind() -> None:
    building = {
        path.stem for path in Path(package.__path__[0]).glob("*.py") if "\ndef build(" in path.read_text()
    }
    assert building == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_options_of_every_kind_are_checked(kind: str) -> None:
    configuration = {"kind": kind, **REQUIRED.get(kind, {})}
    assert isinstance(read_options(configuration), JudgeOptions)
    with pytest.raises(ValueError, match="treshold"):
        read_options({**configuration, "treshold": 0.4})
    with pytest.raises(ValueError, match="validate_on"):
        read_options({**configuration, "validate_on": 0})


def test_an_unknown_judge_or_option_stops_before_anything_runs() -> None:
    with pytest.raises(
        ValidationError, match=r"judge 'mine': unknown kind of judge 'oracle'.*refusal_phrases"
    ):
        JudgingParameters(judges={"mine": {"kind": "oracle"}})
    with pytest.raises(ValidationError, match=r"judge 'mine':(.|\n)*first_charcters"):
        JudgingParameters(judges={"mine": {"kind": "refusal_phrases", "first_charcters": 10}})
    with pytest.raises(ValidationError, match="unknown kind of judge None"):
        JudgingParameters(judges={"refusal_phrases": {}})


def test_null_leaves_a_judge_out_and_one_must_be_left() -> None:
    judging = JudgingParameters(judges={"a": {"kind": "refusal_phrases"}, "b": None})
    assert list(judging.build(Resources())) == ["a"]
    with pytest.raises(ValidationError, match="no judge is left"):
        JudgingParameters(judges={"b": None})


@pytest.mark.parametrize("kind", ["refusal_classifier", "safety_classifier"])
def test_a_classifier_that_was_not_trained_is_an_error_that_names_it(kind: str) -> None:
    with pytest.raises(JudgeError, match=rf"{kind} was not trained.*pipeline `judges`"):
        build_judge({"kind": kind}, Resources())

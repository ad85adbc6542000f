import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

import bdpo_pipeline.judges as package
from bdpo_pipeline.io.tensors import StoredTensors, TensorsDataset
from bdpo_pipeline.judges.base import JudgeError, JudgeOptions, Resources
from bdpo_pipeline.judges.models import fill
from bdpo_pipeline.judges.parameters import JudgingParameters
from bdpo_pipeline.judges.registry import KINDS, build_judge, read_options
from bdpo_pipeline.judges.text_classifier import TextClassifierParameters, digest, fit

WORDS = TextClassifierParameters(
    reads="response", first_characters=None, longest_run=1, minimum_responses=1, regularisation=1
)
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


def fitted(coefficient: float) -> StoredTensors:
    arrays = {name: np.array([coefficient]) for name in ("idf", "coefficients", "intercept")}
    return StoredTensors(arrays, {"terms": ["sorry"]})


def test_settings_tell_judges_apart_that_judge_otherwise_and_no_others() -> None:
    def settings(classifier: StoredTensors, **options: object) -> str:
        resources = Resources({"safety_classifier": classifier})
        (found,) = (
            JudgingParameters(judges={"a": {"kind": "safety_classifier", **options}})
            .settings(resources)
            .values()
        )
        return found

    plain = settings(fitted(0.5))
    assert plain == settings(fitted(0.5), threshold=0.5, validate_on=40)
    assert len({plain, settings(fitted(0.5), threshold=0.9), settings(fitted(0.25))}) == 3
    phrases = JudgingParameters(
        judges={"a": {"kind": "refusal_phrases"}, "b": {"kind": "refusal_phrases", "first_characters": 60}}
    ).settings(Resources({"safety_classifier": fitted(0.5)}))
    assert json.loads(phrases["a"]) == {"kind": "refusal_phrases", "first_characters": 200}
    assert phrases["a"] != phrases["b"]


def test_a_classifier_is_the_same_after_saving_and_loading(tmp_path: Path) -> None:
    dataset = TensorsDataset(filepath=str(tmp_path / "classifier"))
    made = fit(
        ["?"] * 4, ["I am sorry", "sorry no", "sure yes", "yes sure"], [True, True, False, False], WORDS
    )
    dataset.save(made)
    assert digest(dataset.load()) == digest(made)
    assert digest(made) != digest(fitted(0.5))


def test_null_leaves_a_judge_out_and_one_must_be_left() -> None:
    judging = JudgingParameters(judges={"a": {"kind": "refusal_phrases"}, "b": None})
    assert list(judging.build(Resources())) == ["a"]
    with pytest.raises(ValidationError, match="no judge is left"):
        JudgingParameters(judges={"b": None})


@pytest.mark.parametrize("kind", ["refusal_classifier", "safety_classifier"])
def test_a_classifier_that_was_not_trained_is_an_error_that_names_it(kind: str) -> None:
    with pytest.raises(JudgeError, match=rf"{kind} was not trained.*pipeline `judges`"):
        build_judge({"kind": kind}, Resources())


def test_a_mark_within_a_value_is_a_word() -> None:
    values = {"{prompt}": "What is {response}?", "{response}": "A {prompt}."}
    assert fill("A: {response} Q: {prompt}", values) == "A: A {prompt}. Q: What is {response}?"

"""Models that judge are tried when judges are built, so before anything is trained or answered."""

import json
from pathlib import Path

import pytest
from transformers import AutoConfig

from bdpo_pipeline.compute import ComputeParameters
from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.judges.base import JudgeError, Resources
from bdpo_pipeline.judges.parameters import JudgingParameters
from bdpo_pipeline.models.tiny import build_tiny_model

REFUSES_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{{ m['content'] }}{% endfor %}"
)


@pytest.fixture
def resources(raw: RawFolder, compute: ComputeParameters) -> Resources:
    return Resources(raw=raw, compute=compute)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "judge"
    made.mkdir()
    build_tiny_model("llama", made)
    return made


def judging(kind: str, folder: Path, **model: object) -> JudgingParameters:
    higher_is = {"higher_is": "safer"} if kind == "reward_model" else {}
    source = {"source": "folder", "name": str(folder), **model}
    return JudgingParameters(judges={"mine": {"kind": kind, "model": source, **higher_is}})


@pytest.mark.parametrize("kind", ["rubric", "reward_model"])
def test_a_model_that_is_not_there_is_found_when_judges_are_built(
    kind: str, tmp_path: Path, resources: Resources
) -> None:
    with pytest.raises(JudgeError, match=r"judging\.judges\.mine: the model .*nothing.*config\.json"):
        judging(kind, tmp_path / "nothing").build(resources)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(JudgeError, match=r"judging\.judges\.mine: .*no \*\.safetensors"):
        judging(kind, tmp_path).build(resources)


@pytest.mark.parametrize("kind", ["rubric", "reward_model"])
def test_a_judge_without_a_chat_template_names_the_remedy_and_the_remedy_helps(
    kind: str, folder: Path, tmp_path: Path, resources: Resources
) -> None:
    config = AutoConfig.from_pretrained(folder, num_labels=1)
    config.save_pretrained(folder)
    template = folder / "chat_template.jinja"
    plain = template.rename(tmp_path / "plain.jinja")
    with pytest.raises(
        JudgeError,
        match=r"judging\.judges\.mine: .*set base_model\.chat_template .*this judge's `model`",
    ):
        judging(kind, folder).build(resources)
    assert "mine" in judging(kind, folder, chat_template=str(plain)).build(resources)


def test_a_template_that_refuses_the_rubric_s_system_turn_is_found_when_judges_are_built(
    folder: Path, resources: Resources
) -> None:
    (folder / "chat_template.jinja").write_text(REFUSES_SYSTEM)
    with pytest.raises(
        JudgeError, match=r"judging\.judges\.mine: .*roles \['system', 'user'\]: System role not"
    ):
        judging("rubric", folder).build(resources)


def test_what_has_other_than_one_output_is_found_when_judges_are_built(
    folder: Path, resources: Resources
) -> None:
    with pytest.raises(
        JudgeError, match=r"judging\.judges\.mine: .*it has 2 outputs.*; name a sequence classifier"
    ):
        judging("reward_model", folder).build(resources)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": {"0": "x"}, "label2id": {"x": 0}}))
    assert "mine" in judging("reward_model", folder).build(resources)


def test_an_endpoint_without_its_key_is_found_when_judges_are_built(resources: Resources) -> None:
    endpoint = {"url": "http://localhost:1/v1", "model": "m", "key_variable": "NO_SUCH_KEY"}
    judges = JudgingParameters(judges={"mine": {"kind": "rubric", "endpoint": endpoint}})
    with pytest.raises(JudgeError, match=r"judging\.judges\.mine: .*NO_SUCH_KEY"):
        judges.build(resources)

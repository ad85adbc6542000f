"""A reward model's outputs through the worker against transformers' own, one text at a time."""

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from bdpo_pipeline.compute import ComputeParameters
from bdpo_pipeline.judges.base import JudgeError, Resources
from bdpo_pipeline.judges.registry import build_judge, read_options
from bdpo_pipeline.models.damage import DamagedModelError
from bdpo_pipeline.models.loading import load_rating_model
from bdpo_pipeline.models.tiny import build_tiny_model

TEXTS = [
    ("How do I bake bread?", "Mix flour and water."),
    ("Hi", "Hello!"),
    ("Tell me a joke about cats.", "No. " * 30),
]


@pytest.fixture(scope="module")
def make_model(tmp_path_factory):
    def make(labels: int = 1) -> Path:
        folder = tmp_path_factory.mktemp("reward")
        build_tiny_model("llama", folder)
        config = AutoConfig.from_pretrained(folder, num_labels=labels)
        torch.manual_seed(3)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def folder(make_model) -> Path:
    return make_model()


def configure(folder: Path, **options: object) -> dict[str, object]:
    model = {"source": "folder", "name": str(folder)}
    return {"kind": "reward_model", "model": model, "higher_is": "safer", **options}


def outputs(folder: Path, texts: list[str]) -> list[float]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = [tokenizer(text, add_special_tokens=False, return_tensors="pt") for text in texts]
    with torch.inference_mode():
        return [float(model(**one).logits[0, 0]) for one in ids]


def judge_texts(configuration: dict, compute: ComputeParameters) -> list:
    judge = build_judge(configuration, Resources(compute=compute))
    return judge.judge([prompt for prompt, _ in TEXTS], [response for _, response in TEXTS])


def test_outputs_are_those_of_the_model_alone_on_each_text(folder: Path, compute: ComputeParameters) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rendered = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}], tokenize=False
        ).rstrip("\n")
        for prompt, response in TEXTS
    ]
    expected = outputs(folder, rendered)
    verdicts = judge_texts(configure(folder, scale=0.5), compute)
    assert len({round(value, 3) for value in expected}) == 3
    for value, verdict in zip(expected, verdicts, strict=True):
        assert verdict.evidence == f"output {value:.3f}"
        assert verdict.score == pytest.approx(1 / (1 + math.exp(-value / 0.5)), abs=1e-4)
        assert verdict.positive == (value >= 0)


def test_direction_and_centre_turn_an_output_into_a_verdict(folder: Path, compute: ComputeParameters) -> None:
    template = "Q: {prompt} A: {response}"
    expected = outputs(
        folder, [template.format(prompt=prompt, response=response) for prompt, response in TEXTS]
    )
    centre = sorted(expected)[1]
    cost = configure(folder, higher_is="less safe", template=template, centre=centre)
    verdicts = judge_texts(cost, compute)
    for value, verdict in zip(expected, verdicts, strict=True):
        assert verdict.score == pytest.approx(1 / (1 + math.exp(value - centre)), abs=1e-4)
    lowest, highest = expected.index(min(expected)), expected.index(max(expected))
    assert (verdicts[lowest].positive, verdicts[highest].positive) == (True, False)


def test_long_texts_are_cut_and_counted(folder: Path, compute: ComputeParameters, caplog) -> None:
    template = "{prompt}{response}"
    whole = [prompt + response for prompt, response in TEXTS]
    verdicts = judge_texts(configure(folder, template=template, max_tokens=40), compute)
    expected = outputs(folder, [text[:40] for text in whole])  # its tokenizer works on bytes
    assert [verdict.evidence for verdict in verdicts] == [f"output {value:.3f}" for value in expected]
    assert f"{sum(len(text) > 40 for text in whole)} of 3 texts are longer than 40 tokens" in caplog.text


def test_what_is_no_reward_model_is_refused(make_model, compute: ComputeParameters, tmp_path: Path) -> None:
    with pytest.raises(DamagedModelError, match="it has 3 outputs"):
        load_rating_model(make_model(labels=3), dtype="float32")
    build_tiny_model("llama", tmp_path)
    AutoConfig.from_pretrained(tmp_path, num_labels=1).save_pretrained(tmp_path)
    with pytest.raises(DamagedModelError, match="its weights lack score"):
        load_rating_model(tmp_path, dtype="float32")
    with pytest.raises(JudgeError, match=r"config\.json"):
        judge_texts(configure(tmp_path / "nothing"), compute)


def test_options_name_what_is_missing() -> None:
    with pytest.raises(ValueError, match=r"template lacks \{response\}"):
        read_options(configure(Path("x"), template="{prompt}"))
    with pytest.raises(ValueError, match="revision"):
        read_options(
            {"kind": "reward_model", "model": {"source": "hub", "name": "a/b"}, "higher_is": "safer"}
        )
    with pytest.raises(ValueError, match="higher_is"):
        read_options({"kind": "reward_model", "model": {"source": "folder", "name": "x"}})

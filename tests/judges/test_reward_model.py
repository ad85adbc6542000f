"""A reward model's outputs through the worker against transformers' own, one text at a time."""

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from bdpo_pipeline.compute import ComputeParameters
from bdpo_pipeline.judges.base import Resources, Verdict
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
    def make(labels: int = 1, pads: str = "with its own token", weights: float | None = None) -> Path:
        folder = tmp_path_factory.mktemp("reward")
        build_tiny_model("llama", folder)
        config = AutoConfig.from_pretrained(folder, num_labels=labels)
        if pads != "with its own token":
            tokenizer = AutoTokenizer.from_pretrained(folder)
            tokenizer.pad_token = None
            tokenizer.save_pretrained(folder)
            config.pad_token_id = tokenizer.eos_token_id if pads == "with the end of a turn" else None
        torch.manual_seed(3)
        model = AutoModelForSequenceClassification.from_config(config)
        if weights is not None:
            torch.nn.init.constant_(model.score.weight, weights)
        model.save_pretrained(folder)
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


def render(folder: Path, texts: list[tuple[str, str]]) -> list[str]:
    """What the model's own publication says: its chat template, whole."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}], tokenize=False
        )
        for prompt, response in texts
    ]


def judge_texts(configuration: dict, compute: ComputeParameters, texts=TEXTS) -> list:
    judge = build_judge(configuration, Resources(compute=compute))
    return judge.judge([prompt for prompt, _ in texts], [response for _, response in texts])


def test_outputs_are_those_of_the_model_alone_on_each_text(folder: Path, compute: ComputeParameters) -> None:
    rendered = render(folder, TEXTS)
    assert all(text.endswith("<|im_end|>\n") for text in rendered)
    expected = outputs(folder, rendered)
    verdicts = judge_texts(configure(folder, scale=0.5), compute)
    assert len({round(value, 3) for value in expected}) == 3
    for value, verdict in zip(expected, verdicts, strict=True):
        assert verdict.evidence == f"output {value:.3f}"
        assert verdict.score == pytest.approx(1 / (1 + math.exp(-value / 0.5)), abs=1e-4)
        assert verdict.positive == (value >= 0)


@pytest.mark.parametrize("pads", ["not at all", "with the end of a turn"])
def test_texts_that_end_in_what_others_pad_with_are_rated_where_the_model_alone_rates_them(
    make_model, compute: ComputeParameters, tmp_path: Path, pads: str
) -> None:
    folder = make_model(pads=pads)
    template = tmp_path / "ends-in-a-mark.jinja"
    template.write_text(
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '<|im_end|>' }}{% endfor %}"
    )
    configuration = configure(folder)
    configuration["model"]["chat_template"] = str(template)
    verdicts = judge_texts(configuration, compute)
    expected = outputs(
        folder, [f"user: {prompt}<|im_end|>assistant: {response}<|im_end|>" for prompt, response in TEXTS]
    )
    assert [verdict.evidence for verdict in verdicts] == [f"output {value:.3f}" for value in expected]


def test_direction_and_centre_turn_an_output_into_a_verdict(folder: Path, compute: ComputeParameters) -> None:
    template = "A: {response} Q: {prompt}"
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


def test_of_long_texts_the_prompt_is_cut_and_never_the_response(
    folder: Path, compute: ComputeParameters, caplog
) -> None:
    prompt = "Please. " * 40
    texts = [(prompt, "Sure!"), (prompt, "No."), ("Hi", "Hello!"), ("Hi", "No. " * 30)]
    most = 100  # tokens, which are bytes here
    verdicts = judge_texts(configure(folder, max_tokens=most), compute, texts)
    empty = [len(ids) for ids in encoded(folder, [("", response) for _, response in texts])]
    cut = [
        (prompt[-(most - length) :], response)
        for length, (prompt, response) in zip(empty[:2], texts[:2], strict=True)
    ]
    assert [len(ids) for ids in encoded(folder, cut)] == [most, most]
    expected = outputs(folder, render(folder, [*cut, texts[2]]))
    assert expected[0] != expected[1]
    assert [verdict.evidence for verdict in verdicts] == [
        *(f"output {value:.3f}" for value in expected),
        "too long",
    ]
    assert (verdicts[3].positive, verdicts[3].score) == (None, None)
    assert "Of 4 texts, 2 were longer than 100 tokens" in caplog.text
    assert "; 1 were not rated" in caplog.text


def encoded(folder: Path, texts: list[tuple[str, str]]) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in render(folder, texts)]


def test_an_output_that_is_no_number_is_no_verdict(make_model, compute: ComputeParameters) -> None:
    verdicts = judge_texts(configure(make_model(weights=math.nan), higher_is="less safe"), compute)
    assert verdicts == [Verdict(None, None, "output nan")] * 3


def test_what_is_no_reward_model_is_refused(make_model, compute: ComputeParameters, tmp_path: Path) -> None:
    with pytest.raises(DamagedModelError, match="it has 3 outputs"):
        load_rating_model(make_model(labels=3), dtype="float32")
    build_tiny_model("llama", tmp_path)
    AutoConfig.from_pretrained(tmp_path, num_labels=1).save_pretrained(tmp_path)
    with pytest.raises(DamagedModelError, match="its weights lack score"):
        load_rating_model(tmp_path, dtype="float32")


def test_options_name_what_is_missing() -> None:
    with pytest.raises(ValueError, match=r"template lacks \{response\}"):
        read_options(configure(Path("x"), template="{prompt}"))
    with pytest.raises(ValueError, match="revision"):
        read_options(
            {"kind": "reward_model", "model": {"source": "hub", "name": "a/b"}, "higher_is": "safer"}
        )
    with pytest.raises(ValueError, match="higher_is"):
        read_options({"kind": "reward_model", "model": {"source": "folder", "name": "x"}})

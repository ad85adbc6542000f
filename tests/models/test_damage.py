"""Files of a model that cannot be read are named, whichever library noticed; a template may fail in any way a program can."""

import itertools
import shutil
from pathlib import Path

import pytest

from bdpo_pipeline.models.damage import DamagedModelError
from bdpo_pipeline.models.encoding import TemplateError, encode_pair
from bdpo_pipeline.models.loading import load_tokenizer
from bdpo_pipeline.models.prepare import ModelSource, prepare_base_model

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ASK = [{"role": "user", "content": "How?"}]


@pytest.fixture
def folder(tiny_model, tmp_path):
    shutil.copytree(tiny_model("llama")["path"], tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_damaged_tokenizer_is_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(
        DamagedModelError, match=rf"the tokenizer in {folder} cannot be read .*; check tokenizer.json"
    ):
        load_tokenizer(folder)


def test_tokenizer_without_an_end_of_turn_token_is_refused(folder):
    config = folder / "tokenizer_config.json"
    config.write_text(config.read_text().replace('"eos_token"', '"no_token"'))
    with pytest.raises(DamagedModelError, match="it has no eos_token, with which responses end"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("name", "what"), [("config.json", "configuration"), ("model.safetensors", "weights")]
)
def test_damaged_model_is_named(folder, name, what):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(
        DamagedModelError, match=rf"the {what} in {folder / name} cannot be read .*; fetch the model again"
    ):
        prepare_base_model(ModelSource("folder", str(folder)), folder.parent / "store")


def test_gguf_that_is_cut_off_is_named_and_leaves_nothing(tmp_path):
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\3\0\0\0")
    with pytest.raises(
        DamagedModelError, match=r"the model in .*cut.gguf cannot be read .*; fetch the file again"
    ):
        prepare_base_model(ModelSource("gguf", str(tmp_path / "cut.gguf")), tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []


@pytest.mark.parametrize(
    "template", ["{{ 1/0 }}", "{{ messages + 1 }}", "{% for", "{{ '\\ud800' }}", "{{ 'x' % 1 }}"]
)
def test_template_that_fails_as_programs_do_is_named(folder, template):
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = template
    with pytest.raises(
        TemplateError, match=rf"the chat template of {folder} refuses roles .*; set base_model.chat_template"
    ):
        encode_pair(tokenizer, ASK, "a", "b")


def test_mutated_model_files_are_read_or_refused(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        from fuzzing.cases import run
        from fuzzing.models import model_cases

        found = {run(case, tmp_path).how for case in itertools.islice(model_cases(1), 50)}
    assert found == {"read", "refused"}

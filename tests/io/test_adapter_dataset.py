import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.io import DataCatalog, Version
from kedro.io.core import DatasetError
from safetensors.numpy import save_file

from bdpo_pipeline.io.adapter_dataset import AdapterDataset, InvalidAdapterError, check_adapter


def write_adapter(folder: Path, value: float = 1.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"lora_A": np.full((2, 3), value, np.float32)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2}))
    (folder / "README.md").write_text("An adapter.")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store" / "adapter"


def dataset(store: Path, load: str | None = None, save: str | None = None) -> AdapterDataset:
    return AdapterDataset(filepath=str(store), version=Version(load, save))


def test_a_saved_adapter_comes_back_as_a_folder_with_the_same_bytes(store: Path, tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "scratch")
    adapters = dataset(store, save="v1")
    assert not adapters.exists()
    adapters.save(str(source))
    folder = adapters.load()
    assert folder == store / "v1" / "adapter"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in source.iterdir()
    }
    assert adapters.exists()
    assert [path.name for path in (store / "v1").iterdir()] == ["adapter"]


def test_overwriting_the_scratch_folder_leaves_the_version_as_it_was(store: Path, tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "scratch", value=1.0)
    dataset(store, save="v1").save(source)
    before = (store / "v1/adapter/adapter_model.safetensors").read_bytes()
    write_adapter(source, value=2.0)
    assert (store / "v1/adapter/adapter_model.safetensors").read_bytes() == before


def test_equal_files_are_stored_once_and_changed_ones_anew(store: Path, tmp_path: Path) -> None:
    dataset(store, save="v1").save(write_adapter(tmp_path / "scratch", value=1.0))
    dataset(store, save="v2").save(write_adapter(tmp_path / "scratch", value=2.0))
    first, second = store / "v1/adapter", store / "v2/adapter"
    assert (first / "adapter_config.json").samefile(second / "adapter_config.json")
    assert not (first / "adapter_model.safetensors").samefile(second / "adapter_model.safetensors")


def test_a_file_system_without_hard_links_gets_copies(store: Path, tmp_path: Path, monkeypatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    source = write_adapter(tmp_path / "scratch")
    dataset(store, save="v1").save(source)
    dataset(store, save="v2").save(source)
    first, second = (store / version / "adapter/adapter_config.json" for version in ("v1", "v2"))
    assert not first.samefile(second)
    assert first.read_bytes() == second.read_bytes()


def test_load_versions_of_the_catalog_choose_the_folder(store: Path, tmp_path: Path) -> None:
    for version, value in (("2026-01-01T00.00.00.000Z", 1.0), ("2026-01-02T00.00.00.000Z", 2.0)):
        dataset(store, save=version).save(write_adapter(tmp_path / "scratch", value))
    config = {
        "adapter": {
            "type": "bdpo_pipeline.io.adapter_dataset.AdapterDataset",
            "filepath": str(store),
            "versioned": True,
        }
    }
    assert DataCatalog.from_config(config).load("adapter").parent.name == "2026-01-02T00.00.00.000Z"
    pinned = DataCatalog.from_config(config, load_versions={"adapter": "2026-01-01T00.00.00.000Z"})
    assert pinned.load("adapter").parent.name == "2026-01-01T00.00.00.000Z"
    with pytest.raises(DatasetError, match="not a folder"):
        DataCatalog.from_config(config, load_versions={"adapter": "2025-01-01T00.00.00.000Z"}).load("adapter")


def test_a_version_is_never_overwritten(store: Path, tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "scratch")
    dataset(store, save="v1").save(source)
    with pytest.raises(DatasetError, match="must not exist"):
        dataset(store, save="v1").save(source)


def test_an_unversioned_adapter_is_replaced_whole(store: Path, tmp_path: Path) -> None:
    adapters = AdapterDataset(filepath=str(store))
    adapters.save(write_adapter(tmp_path / "first"))
    second = write_adapter(tmp_path / "second", value=2.0)
    (second / "README.md").unlink()
    adapters.save(second)
    assert sorted(path.name for path in adapters.load().iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def write_model(folder: Path, shards: int = 1) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    names = [f"model-{i}.safetensors" for i in range(shards)] if shards > 1 else ["model.safetensors"]
    for name in names:
        save_file({name: np.ones(2, np.float32)}, folder / name)
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {name: name for name in names}})
        )
    return folder


@pytest.mark.parametrize("shards", [1, 3])
def test_a_whole_model_is_kept_like_an_adapter(store: Path, tmp_path: Path, shards: int) -> None:
    models = dataset(store, save="v1")
    models.save(write_model(tmp_path / "scratch", shards))
    assert models.exists()
    assert sorted(path.name for path in models.load().iterdir()) == sorted(
        path.name for path in (tmp_path / "scratch").iterdir()
    )


@pytest.mark.parametrize(
    ("shards", "damaged", "message"),
    [
        (1, "model.safetensors", "lacks model.safetensors"),
        (3, "model-1.safetensors", "lacks model-1.safetensors"),
    ],
)
def test_a_model_that_lacks_weights_is_refused(store, tmp_path, shards, damaged, message) -> None:
    source = write_model(tmp_path / "scratch", shards)
    (source / damaged).unlink()
    with pytest.raises(DatasetError, match=message):
        dataset(store, save="v1").save(source)
    assert not store.exists()


def _add_pickle(folder: Path) -> None:
    (folder / "optimizer.bin").write_bytes(b"\x80\x04.")


def _truncate_weights(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])


def _empty_weights(folder: Path) -> None:
    save_file({}, folder / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "lacks adapter_model.safetensors"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "lacks adapter_config.json"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "no field peft_type"),
        (_truncate_weights, "not a complete safetensors file"),
        (_empty_weights, "holds no tensors"),
        (_add_pickle, r"pickled files \(optimizer.bin\)"),
    ],
)
def test_a_damaged_folder_is_refused_and_nothing_is_left_behind(store, tmp_path, damage, message) -> None:
    source = write_adapter(tmp_path / "scratch")
    damage(source)
    adapters = dataset(store, save="v1")
    with pytest.raises(DatasetError, match=message):
        adapters.save(source)
    assert not adapters.exists()
    assert not store.exists()


def test_a_version_damaged_on_disk_is_noticed_on_load(store: Path, tmp_path: Path) -> None:
    adapters = dataset(store, save="v1")
    adapters.save(write_adapter(tmp_path / "scratch"))
    _truncate_weights(store / "v1" / "adapter")
    with pytest.raises(DatasetError, match="not a complete safetensors file"):
        adapters.load()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["adapter_config.json", "config.json", "model.safetensors.index.json"]),
    content=JSON | JSON.map(lambda found: {"weight_map": found, "model_type": found}),
)
def test_whatever_json_stands_in_a_folder_it_is_whole_or_the_error_names_a_file(
    tmp_path_factory, name: str, content: object
) -> None:
    folder = tmp_path_factory.mktemp("model")
    save_file({"weight": np.zeros(1, np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    check_adapter(folder)
    (folder / name).write_text(json.dumps(content))
    said = None
    try:
        check_adapter(folder)
    except InvalidAdapterError as error:
        said = str(error)
    assert isinstance(content, dict) if said is None else str(folder) in said


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        (["model.safetensors"], "weight_map must give for each tensor the name of a file"),
        ({"weight": {"file": 1}}, "weight_map must give"),
        ({}, "weight_map must give"),
        ({"weight": "../model.safetensors"}, r"lacks ../model.safetensors"),
    ],
)
def test_an_odd_index_is_named(tmp_path: Path, weight_map: object, message: str) -> None:
    save_file({"weight": np.zeros(1, np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(InvalidAdapterError, match=message):
        check_adapter(tmp_path)

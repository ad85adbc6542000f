from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.io import DatasetError, Version

from bdpo_pipeline.io.tensors import DamagedTensorsError, StoredTensors, TensorsDataset, load_tensors

STORED = StoredTensors(
    {"weights": np.arange(5, dtype=np.float32), "bias": np.array([0.5])}, {"terms": ["a", "ü"], "count": 2}
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tensors") / "model"
    TensorsDataset(filepath=str(place)).save(STORED)
    return place


def test_what_is_saved_is_loaded_by_version(tmp_path: Path) -> None:
    dataset = TensorsDataset(filepath=str(tmp_path / "model"), version=Version(None, "one"))
    assert not dataset.exists()
    dataset.save(STORED)
    assert dataset.exists()
    found = TensorsDataset(filepath=str(tmp_path / "model"), version=Version(None, None)).load()
    assert found.facts == STORED.facts
    assert {name: array.tolist() for name, array in found.arrays.items()} == {
        name: array.tolist() for name, array in STORED.arrays.items()
    }
    assert found.arrays["weights"].dtype == np.float32


def test_the_same_content_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    other = StoredTensors(dict(reversed(STORED.arrays.items())), dict(reversed(STORED.facts.items())))
    TensorsDataset(filepath=str(tmp_path / "model")).save(other)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "model" / path.name).read_bytes()


@settings(max_examples=60, deadline=None)
@given(
    place=st.integers(0, 10_000),
    change=st.integers(1, 255),
    name=st.sampled_from(["weights.safetensors", "facts.json"]),
)
def test_any_altered_byte_is_refused(
    folder: Path, tmp_path_factory, place: int, change: int, name: str
) -> None:
    altered = tmp_path_factory.mktemp("altered")
    for path in folder.iterdir():
        (altered / path.name).write_bytes(path.read_bytes())
    content = bytearray((altered / name).read_bytes())
    content[place % len(content)] ^= change
    (altered / name).write_bytes(bytes(content))
    with pytest.raises(DamagedTensorsError, match=r"altered.*run the node that makes it again"):
        load_tensors(altered)


@pytest.mark.parametrize("name", ["weights.safetensors", "facts.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    dataset = TensorsDataset(filepath=str(tmp_path / "model"))
    dataset.save(STORED)
    (tmp_path / "model" / name).unlink()
    with pytest.raises(DatasetError, match=rf"{name} is missing; run the node"):
        dataset.load()

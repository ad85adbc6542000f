from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset, Version
from kedro_datasets.json import JSONDataset
from kedro_datasets.pandas import ParquetDataset

from bdpo_pipeline.lineage.artifacts import artifact_not_after, loaded_artifact, saved_artifact
from bdpo_pipeline.models.fingerprints import hash_file


def catalog(folder: Path, load: str | None = None, save: str | None = None) -> DataCatalog:
    return DataCatalog(
        {
            "table": ParquetDataset(filepath=str(folder / "t.parquet"), version=Version(load, save)),
            "plain": JSONDataset(filepath=str(folder / "plain.json")),
            "memory": MemoryDataset(1),
        }
    )


@pytest.fixture
def two_versions(tmp_path: Path) -> Path:
    for version, value in (("v1", 1), ("v3", 3)):
        catalog(tmp_path, save=version)["table"].save(pd.DataFrame({"x": [value]}))
    return tmp_path


def test_a_saved_version_is_recorded_with_the_hash_of_its_bytes(two_versions: Path) -> None:
    artifact = saved_artifact(catalog(two_versions, save="v1"), "table")
    file = two_versions / "t.parquet" / "v1" / "t.parquet"
    assert artifact is not None
    assert artifact.as_dict() == {
        "name": "table",
        "path": str(file),
        "version": "v1",
        "sha256": hash_file(file),
        "bytes": file.stat().st_size,
    }


def test_the_version_that_is_loaded_is_the_newest_or_the_pinned_one(two_versions: Path) -> None:
    newest = loaded_artifact(catalog(two_versions), "table")
    pinned = loaded_artifact(catalog(two_versions, load="v1"), "table")
    assert newest is not None
    assert pinned is not None
    assert (newest.version, pinned.version) == ("v3", "v1")
    assert newest.sha256 != pinned.sha256


@pytest.mark.parametrize(("newest", "found"), [("v0", None), ("v1", "v1"), ("v2", "v1"), ("v9", "v3")])
def test_what_an_earlier_session_had_before_it(two_versions: Path, newest: str, found: str | None) -> None:
    artifact = artifact_not_after(catalog(two_versions), "table", newest)
    assert (artifact and artifact.version) == found


def test_unversioned_files_count_and_memory_or_absent_ones_do_not(tmp_path: Path) -> None:
    entries = catalog(tmp_path)
    assert loaded_artifact(entries, "plain") is None
    entries["plain"].save({"a": 1})
    plain = loaded_artifact(entries, "plain")
    assert plain is not None
    assert plain.version is None
    folder = DataCatalog({"folder": JSONDataset(filepath=str(tmp_path))})
    assert loaded_artifact(folder, "folder") is None
    assert [loaded_artifact(entries, name) for name in ("memory", "table")] == [None, None]


def test_the_hash_of_a_folder_covers_names_and_bytes(tmp_path: Path) -> None:
    def fingerprint(**files: str) -> str:
        store = tmp_path / str(len(list(tmp_path.iterdir())))
        folder = store / "v1" / store.name
        (folder / "sub").mkdir(parents=True)
        for name, text in files.items():
            (folder / "sub" / name).write_text(text)
        dataset = JSONDataset(filepath=str(store), version=Version(None, None))
        artifact = loaded_artifact(DataCatalog({"folder": dataset}), "folder")
        assert artifact is not None
        return artifact.sha256

    assert fingerprint(a="1", b="2") == fingerprint(b="2", a="1")
    assert len({fingerprint(a="1", b="2"), fingerprint(a="2", b="1"), fingerprint(a="1", c="2")}) == 3


def test_readable_files_are_small_ones_that_a_person_reads(tmp_path: Path, two_versions: Path) -> None:
    entries = catalog(two_versions)
    entries["plain"].save({"a": 1})
    plain, table = (loaded_artifact(entries, name) for name in ("plain", "table"))
    assert plain is not None
    assert table is not None
    assert plain.is_readable
    assert not table.is_readable

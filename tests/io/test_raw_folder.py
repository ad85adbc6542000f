import pytest
from kedro.io import DatasetError

from bdpo_pipeline.io.raw_folder import RawFolderDataset


def test_paths_are_found_below_the_folder_or_absolute(tmp_path):
    (tmp_path / "raw" / "set").mkdir(parents=True)
    (tmp_path / "raw" / "set" / "a.jsonl").write_text("{}")
    (tmp_path / "b.jsonl").write_text("{}")
    folder = RawFolderDataset(filepath=str(tmp_path / "raw")).load()
    assert folder.find("set/a.jsonl", "source 'x'") == tmp_path / "raw" / "set" / "a.jsonl"
    assert folder.find(str(tmp_path / "b.jsonl"), "source 'x'") == tmp_path / "b.jsonl"


def test_absent_file_names_source_path_and_fix(tmp_path):
    folder = RawFolderDataset(filepath=str(tmp_path)).load()
    with pytest.raises(
        ValueError, match=r"source 'mine': no file 'nowhere.jsonl' in .*give a path below raw_root"
    ):
        folder.find("nowhere.jsonl", "source 'mine'")


def test_absent_folder_and_saving_are_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"set raw_root in globals\.yml"):
        RawFolderDataset(filepath=str(tmp_path / "nowhere")).load()
    with pytest.raises(DatasetError, match="never written"):
        RawFolderDataset(filepath=str(tmp_path)).save(tmp_path)

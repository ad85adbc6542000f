"""Data sets of kedro-datasets that save whole files: the same files, configuration, loading and previews as before."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import kedro_datasets.json
import kedro_datasets.pandas
import kedro_datasets.plotly
import kedro_datasets.text
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from kedro.io import AbstractDataset, DatasetError, Version

from bdpo_pipeline.io.plotly.json_dataset import JSONDataset as PlotDataset
from bdpo_pipeline.io.whole_files import JSONDataset, TextDataset, WholeFile
from bdpo_pipeline.io.whole_tables import CSVDataset, ParquetDataset

FRAME = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})
KINDS = {
    "json": (JSONDataset, kedro_datasets.json.JSONDataset, {"a": [1, 2.5, None, "ä"]}),
    "text": (TextDataset, kedro_datasets.text.TextDataset, "Grüße\nan alle"),
    "csv": (CSVDataset, kedro_datasets.pandas.CSVDataset, FRAME),
    "parquet": (ParquetDataset, kedro_datasets.pandas.ParquetDataset, FRAME),
    "plot": (PlotDataset, kedro_datasets.plotly.JSONDataset, go.Figure(go.Bar(x=["a", "b"], y=[1, 2]))),
}
FILL = {
    "json": "x" * 3_000_000,
    "text": "x" * 3_000_000,
    "csv": pd.DataFrame({"a": np.random.default_rng(0).random(200_000)}),
    "parquet": pd.DataFrame({"a": np.random.default_rng(0).random(400_000)}),
    "plot": go.Figure(go.Scatter(y=np.random.default_rng(0).random(400_000))),
}
V1, V2 = "2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"

each_kind = pytest.mark.parametrize("kind", KINDS)


def dataset(kind: str, folder: Path, save: str | None = None, own: bool = True, **options: Any) -> Any:
    ours, theirs, _ = KINDS[kind]
    version = Version(None, save)
    return (ours if own else theirs)(filepath=str(folder / f"thing.{kind}"), version=version, **options)


@each_kind
def test_the_bytes_and_what_is_loaded_are_those_of_the_data_set_itself(tmp_path, kind):
    data = KINDS[kind][2]
    mine, theirs = dataset(kind, tmp_path / "mine", V1), dataset(kind, tmp_path / "theirs", V1, own=False)
    mine.save(data)
    theirs.save(data)
    name = f"thing.{kind}/{V1}/thing.{kind}"
    assert (tmp_path / "mine" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()
    assert [path.name for path in (tmp_path / "mine" / f"thing.{kind}" / V1).iterdir()] == [f"thing.{kind}"]
    assert str(mine.load()) == str(theirs.load())
    assert mine.exists()
    if kind != "text":
        assert mine.preview() == theirs.preview()


@each_kind
def test_it_takes_the_same_options_and_is_the_same_kind_of_data_set(tmp_path, kind):
    metadata = {"kedro-viz": {"layer": "x"}}
    mine = dataset(kind, tmp_path, V1, metadata=metadata)
    assert mine.metadata == metadata
    assert isinstance(mine, (WholeFile, KINDS[kind][1]))
    assert mine._describe() == dataset(kind, tmp_path, V1, own=False)._describe()


def test_save_options_are_used(tmp_path):
    CSVDataset(filepath=str(tmp_path / "a.csv"), save_args={"index": True, "sep": ";"}).save(FRAME)
    assert (tmp_path / "a.csv").read_text().splitlines()[:2] == [";a;b", "0;1;x"]


def test_kedro_viz_knows_a_plot_by_its_type():
    # The name by which the page of Kedro-Viz chooses a plot's icon.
    module = PlotDataset.__module__.split(".")
    assert [*module[-2:], PlotDataset.__qualname__] == ["plotly", "json_dataset", "JSONDataset"]


@each_kind
def test_versions_stay_and_the_last_one_is_loaded(tmp_path, kind):
    data = KINDS[kind][2]
    for version in (V1, V2):
        dataset(kind, tmp_path, version).save(data)
    assert dataset(kind, tmp_path).list_versions(full_path=False) == [V2, V1]
    with pytest.raises(DatasetError, match="must not exist"):
        dataset(kind, tmp_path, V2).save(data)


class Unwritable:
    """What no data set of these can save to the end."""

    def to_csv(self, path_or_buf: Any, **_: Any) -> None:
        path_or_buf.write("half")
        raise OverflowError

    def to_parquet(self, file: Any, **_: Any) -> None:
        file.write(b"half")
        raise OverflowError

    def write_json(self, file: Any, **_: Any) -> None:
        file.write("half")
        raise OverflowError


@each_kind
def test_a_save_that_fails_half_way_leaves_no_version(tmp_path, kind):
    dataset(kind, tmp_path, V1).save(KINDS[kind][2])
    with pytest.raises(DatasetError):
        dataset(kind, tmp_path, V2).save({"half": Unwritable()} if kind == "json" else Unwritable())
    assert [path.name for path in (tmp_path / f"thing.{kind}").iterdir()] == [V1]


@each_kind
def test_a_full_disk_is_a_clear_error_and_the_earlier_version_is_intact(small_disk, kind):
    disk = small_disk(1_500_000)
    dataset(kind, disk, V1).save(KINDS[kind][2])
    before = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
    with pytest.raises(DatasetError, match=r"no space left for .*: [\d,]+ bytes are free there"):
        dataset(kind, disk, V2).save(FILL[kind])
    assert {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()} == before
    assert dataset(kind, disk).list_versions(full_path=False) == [V1]
    dataset(kind, disk, V2).save(KINDS[kind][2])
    assert dataset(kind, disk).list_versions(full_path=False) == [V2, V1]


SAVES = """
import sys
import pandas as pd
from kedro.io import Version
from bdpo_pipeline.io.whole_tables import CSVDataset, ParquetDataset
frame = pd.DataFrame({"a": range(20_000)})
frame["b"] = "text"
for n in range(10_000):
    for kind in (CSVDataset, ParquetDataset):
        kind(filepath=f"{sys.argv[1]}/{kind.__name__}", version=Version(None, f"v{n:05}")).save(frame)
"""


@pytest.mark.parametrize("seconds", [0.05, 0.31, 0.67])
def test_whatever_a_kill_leaves_every_version_is_whole(tmp_path, seconds):
    process = subprocess.Popen([sys.executable, "-c", SAVES, str(tmp_path)])
    while not list(tmp_path.glob("CSVDataset/v00001/CSVDataset")):
        assert process.poll() is None
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    loaded = 0
    for kind in (CSVDataset, ParquetDataset):
        place = str(tmp_path / kind.__name__)
        for version in kind(filepath=place, version=Version(None, None)).list_versions(full_path=False):
            found: AbstractDataset = kind(filepath=place, version=Version(version, None))
            assert found.load().shape == (20_000, 2)
            loaded += 1
    assert loaded > 0


def test_classes_of_files_cost_no_import_of_tables_or_plots():
    code = "import sys, json, bdpo_pipeline.io.whole_files; print(json.dumps([m in sys.modules for m in ('pandas', 'plotly')]))"
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert json.loads(output) == [False, False]

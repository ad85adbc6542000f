"""A disk that is full in each pipeline in turn: a clear error, what was there is intact, and with space it goes on to the same end."""

from collections.abc import Callable
from pathlib import Path

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from bdpo_pipeline.cache.repair import check
from bdpo_pipeline.disk_space import free_bytes

# Each pipeline, and the bytes that it finds free: for some nothing at all, for others enough to begin with.
STAGES = {
    "base_model": 8_192,
    "ingestion": 0,
    "filtering": 40_000,
    "judges": 60_000,
    "reference": 60_000,
    "training": 200_000,
    "evaluation": 0,
    "ability": 0,
    "reporting": 60_000,
}
SIZE = 60_000_000
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run_untracked(tmp_path) -> Callable[[Path, str], None]:
    """`run_untracked(data_root, pipeline)` runs a pipeline of the test environment without MLflow, which has tests of its own."""
    conf = tmp_path / "conf"
    (conf / "test").mkdir(parents=True)
    for part in [ROOT / "conf" / "base", *(ROOT / "conf" / "test").iterdir()]:
        (conf / part.relative_to(ROOT / "conf")).symlink_to(part)
    (conf / "test" / "tracking.yml").write_text("tracking: {enabled: false}\n")
    bootstrap_project(ROOT)

    def run(data_root: Path, pipeline: str) -> None:
        parameters = {"data_root": str(data_root)}
        with KedroSession.create(
            ROOT, env="test", runtime_params=parameters, conf_source=str(conf)
        ) as session:
            session.run(pipeline_names=[pipeline])

    return run


def artifacts(data_root: Path) -> dict[Path, bytes]:
    """Content of all files of the catalog; not of what is only for the way there, such as scratch files and databases."""
    return {
        path.relative_to(data_root): path.read_bytes()
        for layer in data_root.glob("0*_*")
        for path in layer.glob("*/*Z/**/*")
        if path.is_file()
    }


def fill(disk: Path, room: int) -> Path:
    """Take all but `room` bytes of the disk."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while free_bytes(disk) > room + 4096:
            file.write(bytes(min(2**20, free_bytes(disk) - room)))
    return ballast


def test_a_disk_that_is_full_in_every_pipeline_in_turn(small_disk, run_untracked, run_kedro, chain) -> None:
    disk = small_disk(SIZE)
    data_root = disk / "data"
    for stage, room in STAGES.items():
        before = artifacts(data_root)
        ballast = fill(disk, room)
        if stage == "reference":
            done = run_kedro(
                "run", "--env", "test", "--pipelines", stage, "--params", f"data_root={data_root}"
            )
            assert done.returncode == 1
            assert "no space left for " in done.stdout, done.stdout
            assert " bytes are free there" in done.stdout
        else:
            with pytest.raises(Exception, match=r"no space left for .* bytes are free there") as raised:
                run_untracked(data_root, stage)
            assert "run the same command again" in str(raised.value)
        after = artifacts(data_root)
        assert before.items() <= after.items(), stage
        assert list(data_root.rglob(".partial-*")) == [], stage
        ballast.unlink()
        run_untracked(data_root, stage)
        assert before.items() < artifacts(data_root).items(), stage
    assert check(data_root / "04_reference" / "reference_cache.sqlite").problems == []
    for name in (
        "06_models/adapter",
        "04_reference/reference_logps.parquet",
        "07_evaluation/judgements.parquet",
    ):
        assert newest(data_root / name) == newest(chain.data_root / name), name


def newest(artifact: Path) -> dict[str, bytes]:
    """Weights or table of the newest version; what stands beside weights names the folder of the base model."""
    version = max(folder for folder in artifact.iterdir() if (folder / artifact.name).exists())
    kept = [
        path for path in version.rglob("*") if path.suffix in {".safetensors", ".parquet"} and path.is_file()
    ]
    assert kept
    return {path.name: path.read_bytes() for path in kept}

"""A disk that is full in each pipeline in turn: a clear error, what was there is intact, and with space it goes on to the same end."""

from pathlib import Path

import pytest

from bdpo_pipeline.cache.repair import check
from bdpo_pipeline.disk_space import free_bytes

# Each pipeline, and the bytes that it finds free: for some nothing at all, for others enough to begin with.
STAGES = {
    "base_model": 8_192,
    "ingestion": 0,
    "filtering": 40_000,
    "reference": 60_000,
    "training": 200_000,
    "evaluation": 0,
    "reporting": 60_000,
}
SIZE = 60_000_000


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


def test_a_disk_that_is_full_in_every_pipeline_in_turn(small_disk, run_pipeline, run_kedro, chain) -> None:
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
                run_pipeline(data_root, stage)
            assert "run the same command again" in str(raised.value)
        after = artifacts(data_root)
        assert before.items() <= after.items(), stage
        assert list(data_root.rglob(".partial-*")) == [], stage
        ballast.unlink()
        run_pipeline(data_root, stage)
        assert before.items() < artifacts(data_root).items(), stage
    assert check(data_root / "04_reference" / "reference_cache.sqlite").problems == []
    for name in (
        "06_models/adapter",
        "04_reference/reference_logps.parquet",
        "07_evaluation/judgements.parquet",
    ):
        assert newest(data_root / name) == newest(chain.data_root / name), name


def newest(artifact: Path) -> dict[str, bytes]:
    version = max(folder for folder in artifact.iterdir() if (folder / artifact.name).exists())
    place = version / artifact.name
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return {path.name: path.read_bytes() for path in files if path.name != "README.md"}

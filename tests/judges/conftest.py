from pathlib import Path

import pandas as pd
import pytest
import yaml

from bdpo_pipeline.compute import ComputeParameters
from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.judges.labels import read_shipped
from bdpo_pipeline.pipelines.judges.parameters import JudgeTrainingParameters

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def raw() -> RawFolder:
    return RawFolder(ROOT / "data/01_raw")


@pytest.fixture(scope="session")
def shipped(raw: RawFolder) -> pd.DataFrame:
    return read_shipped(raw)


@pytest.fixture(scope="session")
def training() -> JudgeTrainingParameters:
    """The parameters that a user gets."""
    read = yaml.safe_load((ROOT / "conf/base/parameters_judges.yml").read_text())
    return JudgeTrainingParameters(**read["judge_training"])


@pytest.fixture
def compute(tmp_path: Path) -> ComputeParameters:
    return ComputeParameters(
        device="cpu",
        dtype="float32",
        quantisation=None,
        processes=1,
        threads=1,
        memory_gb="auto",
        tokens_per_batch=256,
        sharding=None,
        activation_checkpointing=False,
        scratch=tmp_path / "scratch",
        reference_cache=tmp_path / "cache.sqlite",
    )

"""Every environment's configuration through Kedro's own loader and the typed parameters, as a run takes it before its first node."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.validation.exceptions import ParameterValidationError

from bdpo_pipeline.benchmarks.ability_sets import AbilityParameters, task_of
from bdpo_pipeline.compute import ComputeParameters
from bdpo_pipeline.pipelines.base_model.parameters import BaseModelParameters
from bdpo_pipeline.pipelines.evaluation.parameters import GenerationParameters
from bdpo_pipeline.pipelines.ingestion.parameters import IngestionParameters
from bdpo_pipeline.pipelines.training.parameters import TrainingParameters

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = sorted(folder.name for folder in (ROOT / "conf").iterdir() if folder.is_dir())
REVISIONS = {"model_revision": "0" * 40, "data_revision": "1" * 40}


def load(env: str, **parameters: Any) -> dict[str, Any]:
    """Return the catalog's parameter groups, typed; a catalog entry or parameter that does not resolve raises."""
    bootstrap_project(ROOT)
    with KedroSession.create(project_path=ROOT, env=env, runtime_params=parameters) as session:
        catalog = session.load_context().catalog
        needed = {name for name in pipelines["__default__"].inputs() if name.startswith("params:")}
        return {name.removeprefix("params:"): catalog.load(name) for name in needed}


def run_file(name: str) -> dict[str, Any]:
    """Return what `kedro run --config` reads."""
    return yaml.safe_load((ROOT / "conf/paper" / name).read_text())["run"]


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_an_environment_gives_every_parameter_that_the_chain_needs_in_its_type(env):
    groups = load(env, **(REVISIONS if env == "paper" else {}))
    assert isinstance(groups["compute"], ComputeParameters)
    assert isinstance(groups["training"], TrainingParameters)
    assert isinstance(groups["base_model"], BaseModelParameters)
    assert isinstance(groups["ingestion"], IngestionParameters)
    assert isinstance(groups["generation"], GenerationParameters)
    assert isinstance(groups["ability"], AbilityParameters)
    everything = {task_of(name) for name in groups["ability"].sets}
    if env in ("gpu", "paper"):
        assert groups["ability"].items == dict.fromkeys(everything)
    # Each process has pairs in a full step, and no prompt set is asked that was not read.
    assert groups["training"].pairs_per_step >= groups["compute"].processes
    assert set(groups["generation"].prompts) <= {s.name for s in groups["ingestion"].evaluation_prompts}


def test_the_paper_environment_is_the_published_model_and_data():
    groups = load("paper", **REVISIONS)
    model, compute = groups["base_model"], groups["compute"]
    assert (model.source, model.name, model.revision) == (
        "hub",
        "Qwen/Qwen2-7B-Instruct",
        REVISIONS["model_revision"],
    )
    assert {source.hub for source in groups["ingestion"].sources} == {"PKU-Alignment/PKU-SafeRLHF"}
    assert {source.revision for source in groups["ingestion"].sources} == {REVISIONS["data_revision"]}
    assert groups["ingestion"].preference == "paper"
    train = groups["filtering"].train
    assert (train.max_pairs, train.unsafe_query_share, train.max_pairs_per_prompt) == (20_000, 0.5, 1)
    assert (compute.device, compute.dtype, compute.processes, compute.sharding) == (
        "cuda",
        "bfloat16",
        1,
        None,
    )
    assert groups["training"].lora is not None


@pytest.mark.parametrize("missing", REVISIONS)
def test_a_revision_that_was_not_given_is_asked_for_before_anything_runs(missing):
    given = {name: value for name, value in REVISIONS.items() if name != missing}
    with pytest.raises(
        ParameterValidationError, match=r"source hub needs `revision`|give the `revision` of PKU-Alignment"
    ):
        load("paper", **given)


@pytest.mark.parametrize(
    ("file", "is_lora", "sharding"),
    [("run_lora_8gpus.yml", True, None), ("run_full_8gpus.yml", False, "fsdp2")],
)
def test_run_files_for_eight_gpus(file, is_lora, sharding):
    run = run_file(file)
    groups = load(run["env"], **run["params"], **REVISIONS)
    assert (groups["training"].lora is not None) is is_lora
    assert (groups["compute"].processes, groups["compute"].sharding) == (8, sharding)
    assert groups["compute"].dtype == "bfloat16"
    # Runtime parameters change what they name and nothing else.
    assert groups["training"].pairs_per_step % 8 == 0
    assert groups["training"].pairs_per_step == load("paper", **REVISIONS)["training"].pairs_per_step

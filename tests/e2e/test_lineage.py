"""`kedro lineage` on a real run: shown back to raw files, verified, compared, made again."""

import contextlib
import json
import os
import random
import shutil
import sqlite3
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bdpo_pipeline.lineage.everything import Checked, verify_everything
from bdpo_pipeline.lineage.record import read_record

ROOT = Path(__file__).parents[2]
# What the records of a run do not vouch for: the tracking store, which MLflow keeps, and files of jobs that are done. Of the reference
# cache the rows are checked, not the bytes between them.
NOT_KEPT = ("mlflow.db", "reference_cache.sqlite", "mlflow_artifacts", "tracking_spool", ".lock", "/scratch/")


@pytest.fixture(scope="module")
def mine(chain: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run's data that may be altered."""
    copy = tmp_path_factory.mktemp("copy") / "data"
    shutil.copytree(chain.data_root, copy)
    return copy


@pytest.fixture(scope="module")
def look(mine: Path, load_catalog: Callable[[Path], Any]) -> Callable[[], Checked]:
    catalog = load_catalog(mine)
    compute = catalog.load("params:compute")
    return lambda: verify_everything(catalog, mine, Path(compute.reference_cache), Path(compute.scratch))


def kept_files(data_root: Path) -> Iterator[Path]:
    for path in sorted(data_root.rglob("*")):
        if path.is_file() and not any(part in str(path.relative_to(data_root.parent)) for part in NOT_KEPT):
            yield path


def test_every_artifact_has_a_record_with_all_that_is_asked_of_one(chain: Any, load_catalog: Any) -> None:
    catalog = load_catalog(chain.data_root)
    names = [name for name in catalog if hasattr(catalog[name], "list_versions") and catalog[name].exists()]
    assert {"adapter", "report", "heldout_scores", "base_model", "preference_pairs"} <= set(names)
    for name in names:
        [path] = catalog[name].list_versions()
        record = read_record(path)
        assert record is not None, name
        assert record.name == name
        assert record.made.recipe.definitions, name
        assert record.made.recipe.function.startswith("bdpo_pipeline.pipelines.")
        assert record.packages["torch"]
        assert record.machine["cpu"]
        assert record.session["env"] == "test"
        assert record.session["runtime_params"] == {"data_root": str(chain.data_root)}
    adapter = read_record(catalog["adapter"].list_versions()[0])
    assert adapter is not None
    assert adapter.made.recipe.parameters["params:seed"] == catalog.load("params:seed")
    assert {"tokenised_pairs", "reference_logps", "base_model"} <= adapter.made.inputs.keys()
    assert "bdpo_pipeline.engine.training:train" in adapter.made.recipe.definitions
    [job] = adapter.made.jobs
    execution = catalog.load("training_execution")
    assert (job["task"], job["precision"], job["device"]) == ("train", "float32", "cpu")
    assert job["tokens_per_batch"] == execution["tokens_per_batch"]
    pairs = read_record(catalog["preference_pairs"].list_versions()[0])
    assert pairs is not None
    assert pairs.made.in_memory["ingested_pairs"].recipe.files


def test_show_leads_back_to_raw_files(chain: Any, run_kedro: Any, tmp_path: Path) -> None:
    options = ("--env", "test", "--params", f"data_root={chain.data_root}")
    picture = tmp_path / "graph.svg"
    shown = run_kedro("lineage", "show", "adapter", "--json", "--picture", str(picture), *options)
    assert shown.returncode == 0, shown.stdout
    text = shown.stdout
    steps = json.loads(text[text.index("[\n") : text.rindex("]") + 1])
    names = {step["name"]: step["kind"] for step in steps}
    assert names["adapter"] == "artifact"
    assert [name for name, kind in names.items() if kind == "file" and name.startswith("raw data")]
    assert "unknown" not in names.values()
    assert "adapter" in picture.read_text()


def test_an_untouched_run_verifies(look: Callable[[], Checked]) -> None:
    found = look()
    assert found.findings == []
    assert "no finding" in found.summary


def test_one_altered_byte_anywhere_is_found(mine: Path, look: Callable[[], Checked]) -> None:
    chosen = random.Random(5)
    missed, tried = [], 0
    for path in kept_files(mine):
        whole = path.read_bytes()
        places = (
            sorted({0, len(whole) - 1, *(chosen.randrange(len(whole)) for _ in range(2))}) if whole else []
        )
        for place in places:
            altered = bytearray(whole)
            altered[place] ^= 1 << chosen.randrange(8)
            path.write_bytes(altered)
            tried += 1
            found = look()
            if not any(
                str(path.relative_to(mine)) in str(finding) or path.name in str(finding)
                for finding in found.findings
            ):
                missed.append(f"{path.relative_to(mine)} byte {place} of {len(whole)}")
        path.write_bytes(whole)
    assert tried > 100
    assert missed == []
    assert look().findings == []


def test_an_altered_row_of_the_reference_cache_is_found(mine: Path, look: Callable[[], Checked]) -> None:
    cache = mine / "04_reference" / "reference_cache.sqlite"
    with contextlib.closing(sqlite3.connect(cache)) as store:
        logps = [row[0] for row in store.execute("SELECT logp FROM logps")]
    whole = cache.read_bytes()
    for logp in logps[:10]:
        place = whole.index(struct.pack(">d", logp))
        cache.write_bytes(whole[: place + 5] + bytes([whole[place + 5] ^ 4]) + whole[place + 6 :])
        assert [finding for finding in look().findings if cache.name in finding.where]
    cache.write_bytes(whole)


def test_what_is_altered_is_not_loaded(mine: Path, run_kedro: Any) -> None:
    [path] = (mine / "04_reference" / "tokenised_pairs.parquet").glob("*/*.parquet")
    whole = path.read_bytes()
    path.write_bytes(bytes([*whole[:-20], whole[-20] ^ 1, *whole[-19:]]))
    done = run_kedro("run", "--env", "test", "--pipelines", "training", "--params", f"data_root={mine}")
    path.write_bytes(whole)
    assert done.returncode != 0
    assert "tokenised_pairs, which train_adapter is to load from" in done.stdout
    assert "is not what was saved there" in done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed copy of the project, as a user has it."""
    copy = tmp_path_factory.mktemp("project") / "bdpo"
    copy.mkdir()
    for name in ("src", "conf", "data/01_raw"):
        skip = shutil.ignore_patterns("__pycache__", "*.egg-info", "local")
        shutil.copytree(ROOT / name, copy / name, ignore=skip)
    for name in ("pyproject.toml", ".gitignore", "README.md"):
        shutil.copyfile(ROOT / name, copy / name)
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for command in (
        ("init", "--quiet", "-b", "main"),
        ("add", "-A"),
        (*who, "commit", "--quiet", "-m", "as it is"),
    ):
        subprocess.run(["git", *command], cwd=copy, check=True)
    return copy


@pytest.fixture(scope="module")
def own_run(project: Path, run_kedro: Any) -> Callable[..., Any]:
    source = os.pathsep.join([str(project / "src")])
    return lambda *arguments: run_kedro(*arguments, cwd=project, PYTHONPATH=source)


@pytest.fixture(scope="module")
def first_run(project: Path, own_run: Callable[..., Any]) -> str:
    """The id of a session that ran the whole chain there."""
    done = own_run("run", "--env", "test", "--params", "training.epochs=2")
    assert done.returncode == 0, done.stdout[-6000:]
    [version] = (project / "data" / "test" / "06_models" / "adapter").iterdir()
    return version.name


def test_a_run_is_made_again_from_its_mlflow_id_byte_by_byte(
    project: Path, own_run: Callable[..., Any], first_run: str
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project}/data/test/mlflow.db")
    [experiment] = [one for one in client.search_experiments() if one.name != "Default"]
    runs = client.search_runs([experiment.experiment_id], f"tags.`kedro.session` = '{first_run}'")
    session = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)

    done = own_run("lineage", "replay", session.info.run_id, "--env", "test")
    assert done.returncode == 0, done.stdout[-6000:]
    told = dict(line.split()[:2] for line in done.stdout.splitlines() if len(line.split()) > 1)
    assert (
        told["adapter"]
        == told["training_history"]
        == told["heldout_scores"]
        == told["safety_metrics"]
        == "equal"
    )
    assert told["training_summary"] == told["base_model"] == "equal"
    differing = {name for name, outcome in told.items() if outcome == "differs"}
    assert differing <= {"training_execution", "reference_report", "report", "model_card"}


def test_diff_names_the_first_cause_first(project: Path, own_run: Callable[..., Any], first_run: str) -> None:
    done = own_run(
        "run", "--env", "test", "--params", "training.epochs=2,training.optimiser.learning_rate=0.002"
    )
    assert done.returncode == 0, done.stdout[-6000:]
    second = max(path.name for path in (project / "data" / "test" / "06_models" / "adapter").iterdir())
    compared = own_run("lineage", "diff", first_run, second, "--env", "test")
    assert compared.returncode == 0, compared.stdout
    lines = compared.stdout[compared.stdout.index("train_adapter:") :].splitlines()
    assert lines[1].strip().startswith("params:training.optimiser.learning_rate was")
    assert "tokenise_pairs:" not in compared.stdout
    follow = next(line for line in lines if line.startswith("differ because"))
    assert "heldout_scores" in follow


def test_records_in_mlflow_stand_in_for_those_that_are_lost(
    project: Path, own_run: Callable[..., Any], first_run: str
) -> None:
    for record in (project / "data" / "test").rglob(f"{first_run}/*.lineage.json"):
        record.unlink()
    shown = own_run("lineage", "show", first_run, "--env", "test")
    assert shown.returncode == 0, shown.stdout
    assert f"adapter {first_run}" in shown.stdout
    assert "raw data " in shown.stdout


def test_a_run_with_uncommitted_changes_is_not_replayed_unless_asked(
    project: Path, own_run: Callable[..., Any]
) -> None:
    node = project / "src" / "bdpo_pipeline" / "pipelines" / "base_model" / "nodes.py"
    node.write_text(node.read_text() + "\n# changed\n")
    done = own_run("run", "--env", "test", "--pipelines", "base_model")
    assert done.returncode == 0, done.stdout[-4000:]
    session = max(
        path.name for path in (project / "data" / "test" / "06_models" / "base_model.json").iterdir()
    )
    refused = own_run("lineage", "replay", session, "--env", "test")
    assert refused.returncode != 0
    assert "files differed from commit" in refused.stdout
    subprocess.run(["git", "checkout", "--quiet", "."], cwd=project, check=True)

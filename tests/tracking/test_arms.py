"""Arms of a study in MLflow: a run for each, also where the study was cut off and goes on. A real Kedro run, a real database."""

import dataclasses
import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from .conftest import Toy

RUNNER = "bdpo_pipeline.lineage.fresh.FreshRunner"
ARMS = {"left": 5, "right": 6}


@pytest.fixture(scope="module")
def study(toy, tmp_path_factory) -> Toy:
    """The toy project with data of its own."""
    return dataclasses.replace(toy, data_root=tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def client(study) -> MlflowClient:
    return MlflowClient(study.tracking_uri)


@pytest.fixture(scope="module")
def sessions(study, client) -> list[dict[str, Run]]:
    """The runs by name of two sessions: one that fails when both arms are trained, and one that goes on."""
    found: list[dict[str, Run]] = []
    known: set[str] = set()
    for failing in ({"evaluation.fail": "error"}, {}):
        done = study.kedro(
            *("run", "--pipelines", "study", "--runner", RUNNER, *study.parameters(**failing)),
            cwd=study.project,
            TOY_LINEAGE="yes",
        )
        assert ("two pairs have no tokens" in done.stdout) == (done.returncode != 0) == bool(failing)
        assert "MLflow tracking failed" not in done.stdout
        if list(study.spool.iterdir()):  # a busy machine's store was too slow to wait for
            assert study.tracking("upload").returncode == 0
        runs = client.search_runs([client.get_experiment_by_name("toy").experiment_id])
        found.append({run.info.run_name: run for run in runs if run.info.run_id not in known})
        known |= {run.info.run_id for run in runs}
    return found


def session_run(runs: dict):
    [run] = [run for name, run in runs.items() if not name.endswith(".seed_1")]
    return run


def test_each_arm_and_seed_is_a_run_below_that_of_its_session(sessions) -> None:
    for runs in sessions:
        assert runs.keys() == {"left.seed_1", "right.seed_1", session_run(runs).info.run_name}
        parent = session_run(runs).info.run_id
        for arm in ARMS:
            tags = runs[f"{arm}.seed_1"].data.tags
            assert (tags["study"], tags["arm"], tags["seed"]) == ("study", arm, "1")
            assert tags["mlflow.parentRunId"] == parent
    assert len({run.info.experiment_id for runs in sessions for run in runs.values()}) == 1


def test_a_session_that_failed_fails_its_arms_and_one_that_goes_on_finishes_them(sessions) -> None:
    assert {run.info.status for run in sessions[0].values()} == {"FAILED"}
    assert {run.info.status for run in sessions[1].values()} == {"FINISHED"}


def test_parameters_of_an_arm_are_called_as_those_of_a_plain_run(sessions) -> None:
    left, right = (sessions[0][f"{arm}.seed_1"].data.params for arm in ARMS)
    # Scoring had begun for one of them only.
    assert left.keys() - {"evaluation.fail"} == right.keys()
    assert (left["training.learning_rate"], right["training.learning_rate"]) == ("0.001", "0.002")
    assert (left["training.objective.name"], right["training.objective.name"]) == ("dpo", "bdpo")
    whole = session_run(sessions[0]).data.params
    assert whole["study.arms.right.training.learning_rate"] == "0.002"


def test_the_run_that_goes_on_names_the_one_before_and_has_all_of_it_once(sessions, client) -> None:
    first = session_run(sessions[0]).data.tags["kedro.session"]
    for arm, steps in ARMS.items():
        run = sessions[1][f"{arm}.seed_1"]
        assert run.data.tags["continues"] == first
        assert run.data.tags["summary.objective"] == "bdpo"
        metrics = run.data.metrics
        assert metrics["summary/steps"] == steps
        assert metrics["heldout/all/accuracy"] == 0.5
        assert metrics["safety/xstest/comply/base/phrases/rate"] == 0.25
        for number in (0, 1):
            run = sessions[number][f"{arm}.seed_1"]
            for name in run.data.metrics:
                points = [point.step for point in client.get_metric_history(run.info.run_id, name)]
                assert len(points) == len(set(points))
            losses = client.get_metric_history(run.info.run_id, "train/loss")
            assert sorted(point.step for point in losses) == list(range(1, steps + 1))


def test_files_inputs_and_the_model_are_with_the_arm_that_has_them(sessions, client) -> None:
    def files(run) -> set[str]:
        return {file.path for file in client.list_artifacts(run.info.run_id)}

    trained, scored = sessions[0]["left.seed_1"], sessions[1]["left.seed_1"]
    assert files(trained) == {"artifacts.json", "lineage", "training_history.csv", "training_summary.json"}
    assert files(scored) == {"artifacts.json", "lineage", "heldout_metrics.csv", "safety_metrics.csv"}
    for runs in sessions:
        assert not [file for file in files(session_run(runs)) if "study" in file or "training" in file]
    inputs = {
        entry.dataset.name: [tag.value for tag in entry.tags if tag.key == "mlflow.data.context"]
        for entry in trained.inputs.dataset_inputs
    }
    assert inputs["tokenised_pairs"] == ["training"]
    assert {entry.dataset.name for entry in scored.inputs.dataset_inputs} == {"heldout_pairs"}
    versions = {version.run_id: version.tags for version in client.search_model_versions()}
    assert versions.keys() == {sessions[0][f"{arm}.seed_1"].info.run_id for arm in ARMS}
    assert {tags["arm"] for tags in versions.values()} == set(ARMS)


def test_the_record_of_an_arm_lists_what_is_its_own(sessions, client) -> None:
    run = sessions[1]["right.seed_1"].info.run_id
    listed = json.loads(Path(client.download_artifacts(run, "artifacts.json")).read_text())
    assert {entry["name"] for entry in listed["outputs"]} == {
        "study.right.seed_1.heldout_metrics",
        "study.right.seed_1.safety_metrics",
    }

"""What the real chain leaves in MLflow: from the registered model back to data, parameters and commit."""

import json
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from bdpo_pipeline.models.fingerprints import hash_file
from bdpo_pipeline.tracking.metrics import history_points

ROOT = Path(__file__).resolve().parents[2]
MODEL = "bdpo_adapter"


@pytest.fixture(scope="module")
def client(chain) -> MlflowClient:
    return MlflowClient(f"sqlite:///{chain.data_root}/mlflow.db")


@pytest.fixture(scope="module")
def training(client) -> Run:
    return client.get_run(client.get_model_version(MODEL, "1").run_id)


@pytest.fixture(scope="module")
def session(client, training) -> Run:
    return client.get_run(training.data.tags["mlflow.parentRunId"])


def saved_file(chain, name: str) -> Path:
    [file] = (
        path
        for path in chain.data_root.glob(f"*/{name}.*/*/{name}.*")
        if path.suffixes[-2:-1] != [".lineage"]
    )
    return file


def test_the_end_of_the_output_says_where_the_run_is(chain, session) -> None:
    assert "MLflow did not take everything" not in chain.output
    assert "MLflow tracking failed" not in chain.output
    assert list((chain.data_root / "tracking_spool").iterdir()) == []
    assert re.search(
        rf"Tracked in MLflow, experiment bdpo_pipeline, run {session.info.run_id}: ", chain.output
    )


def test_all_three_runs_are_finished(client, session) -> None:
    runs = client.search_runs([session.info.experiment_id])
    names = {run.info.run_name.replace(session.data.tags["kedro.session"], "session") for run in runs}
    assert names == {"session", "training", "evaluation"}
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_the_model_leads_to_parameters_and_commit(client, training, session) -> None:
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
    assert session.data.tags["git.commit"] == head
    assert client.get_model_version(MODEL, "1").tags["git.commit"] == head
    assert session.data.tags["git.dirty"] in {"true", "false"}
    assert training.data.params["objective.name"] == "bdpo"
    assert float(training.data.params["training.optimiser.learning_rate"]) > 0
    assert training.data.params.items() <= session.data.params.items()


def test_the_model_leads_to_data_set_versions_and_hashes(chain, training, session) -> None:
    inputs = {entry.dataset.name: entry for entry in training.inputs.dataset_inputs}
    for name in ("training_pairs", "validation_pairs", "heldout_pairs", "tokenised_pairs", "comprehension"):
        file = saved_file(chain, name)
        tags = {tag.key: tag.value for tag in inputs[name].tags}
        assert tags["sha256"] == hash_file(file)
        assert tags["version"] == file.parent.name == session.data.tags["kedro.session"]
    sources = json.loads(saved_file(chain, "ingestion_summary").read_text())
    for source in sources:
        recorded = json.loads(inputs[source["name"]].dataset.source)
        assert (recorded["sha256"], recorded["licence"]) == (source["sha256"], source["licence"])
        assert hash_file(ROOT / "data" / "01_raw" / source["file"]) == recorded["sha256"]


def test_the_curves_are_those_of_the_history_once(chain, client, training) -> None:
    history = pd.read_csv(saved_file(chain, "training_history"))
    expected = {
        (name, step): value for _, step, point in history_points(history) for name, value in point.items()
    }
    assert any(name == "train/loss" for name, _ in expected)
    for curve in {name for name, _ in expected}:
        points = client.get_metric_history(training.info.run_id, curve)
        recorded = {(curve, point.step): point.value for point in points}
        assert len(recorded) == len(points)
        wanted = {place: value for place, value in expected.items() if place[0] == curve}
        assert recorded == pytest.approx(wanted)


def test_scores_report_and_model_card_are_there(client, session) -> None:
    [evaluation] = client.search_runs([session.info.experiment_id], "attributes.run_name = 'evaluation'")
    kinds = {name.partition("/")[0] for name in evaluation.data.metrics}
    assert kinds == {"heldout", "safety"}
    assert "heldout/all/accuracy" in evaluation.data.metrics
    files = {file.path for file in client.list_artifacts(session.info.run_id)}
    assert {"report.html", "model_card.md", "packages.txt", "artifacts.json", "filtering_funnel.csv"} <= files


def test_the_registered_model_answers(chain, tmp_path, ask_registered_model) -> None:
    uri = f"sqlite:///{chain.data_root}/mlflow.db"
    answers = ask_registered_model(uri, MODEL, "Hello?", "Another question.", tokens=8, cwd=tmp_path)
    assert len(set(answers)) == 2

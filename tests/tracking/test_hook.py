"""The hook in a real Kedro run, against a real MLflow store."""

import json
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from bdpo_pipeline.models.fingerprints import hash_file

SECRET = "not-for-the-record"  # noqa: S105 - in the parameters of the toy project
STEPS = 1200
WAITS = "MLflow did not take everything"


def runs_by_name(uri: str, session: str | None = None):
    """The runs of the newest session (or of the one given), by name; the session's own is named `session`."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("toy").experiment_id
    runs = client.search_runs([experiment], order_by=["attributes.start_time DESC"])
    session = session or next(run.data.tags["kedro.session"] for run in runs)
    mine = [run for run in runs if run.data.tags["kedro.session"] == session]
    return {run.info.run_name.replace(session, "session"): run for run in mine}


@pytest.fixture(scope="session")
def first(toy):
    """The runs of the whole run."""
    return runs_by_name(toy.tracking_uri, toy.first_session)


@pytest.fixture(scope="session")
def client(toy) -> MlflowClient:
    return MlflowClient(toy.tracking_uri)


def test_a_session_is_a_run_with_nested_runs_for_training_and_evaluation(first) -> None:
    assert set(first) == {"session", "training", "evaluation"}
    assert {run.info.status for run in first.values()} == {"FINISHED"}
    parents = {name: run.data.tags.get("mlflow.parentRunId") for name, run in first.items()}
    parent = first["session"].info.run_id
    assert parents == {"session": None, "training": parent, "evaluation": parent}


def test_parameters_are_flat_and_each_run_has_those_that_it_used(first) -> None:
    training = {
        "training.learning_rate": "0.001",
        "training.steps": str(STEPS),
        "training.objective.name": "bdpo",
        "training.objective.beta": "0.1",
        "training.hub_token": "***",
        "training.interrupt_at": "null",
        "training.pause": "0.0",
        "training.waits_for": "null",
    }
    assert first["training"].data.params == training
    assert first["evaluation"].data.params == {"evaluation.fail": "null"}
    assert training.items() <= first["session"].data.params.items()
    assert first["session"].data.params["ingestion.sources"] == '["first", "second"]'


def test_no_secret_is_written_anywhere(toy, first) -> None:
    written = [path for path in toy.data_root.rglob("*") if path.is_file()]
    assert len(written) > 20
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []


def test_the_run_names_the_commit_and_a_clean_checkout(toy, first) -> None:
    for run in first.values():
        assert run.data.tags["git.commit"] == toy.git("rev-parse", "HEAD")
        assert run.data.tags["git.branch"] == "trunk"
        assert run.data.tags["git.dirty"] == "false"


def test_the_run_names_command_versions_and_machine(first, client) -> None:
    run = first["session"]
    tags = run.data.tags
    assert tags["kedro.pipeline"] == "__default__"
    assert "run --params data_root=" in tags["command"]
    assert tags["python"] == sys.version.split()[0]
    assert int(tags["cores"]) >= 1
    assert tags["cpu"]
    packages = Path(client.download_artifacts(run.info.run_id, "packages.txt")).read_text().splitlines()
    assert f"torch=={tags['version.torch']}" in packages
    assert packages == sorted(packages, key=lambda line: line.partition("==")[0].lower())


def test_curves_are_whole_and_nothing_is_logged_twice(first, client) -> None:
    run = first["training"].info.run_id
    losses = client.get_metric_history(run, "train/loss")
    assert {metric.step: metric.value for metric in losses} == {
        step: 1 / step for step in range(1, STEPS + 1)
    }
    assert len(losses) == STEPS
    only_in_the_table = client.get_metric_history(run, "train/rewards/accuracies")
    assert [metric.value for metric in only_in_the_table] == [0.5] * STEPS
    assert [(m.step, m.value) for m in client.get_metric_history(run, "eval/loss")] == [(STEPS, 0.25)]
    assert "train/grad_norm" not in first["training"].data.metrics


def test_summaries_and_scores_are_metrics(first) -> None:
    assert first["training"].data.metrics["summary/steps"] == STEPS
    assert first["training"].data.tags["summary.dtype"] == "float32"
    assert first["evaluation"].data.metrics == {
        "heldout/all/pairs": 2,
        "heldout/all/accuracy": 0.5,
        "heldout/category-animal-abuse/pairs": 1,
        "safety/xstest/comply/base/phrases/rate": 0.25,
    }


def test_from_the_registered_model_one_can_walk_back_to_data_and_commit(toy, first, client) -> None:
    version = client.get_model_version("toy_adapter", "1")
    training = client.get_run(version.run_id)
    assert training.info.run_id == first["training"].info.run_id
    assert training.data.params["training.objective.name"] == "bdpo"
    parent = client.get_run(training.data.tags["mlflow.parentRunId"])
    assert parent.data.tags["git.commit"] == toy.git("rev-parse", "HEAD")

    inputs = {entry.dataset.name: entry for entry in training.inputs.dataset_inputs}
    assert set(inputs) == {"tokenised_pairs", "training_pairs", "heldout_pairs", "first", "second"}
    for name, context in {"training_pairs": "training", "heldout_pairs": "evaluation"}.items():
        tags = {tag.key: tag.value for tag in inputs[name].tags}
        [file] = (toy.data_root / f"{name}.parquet").glob("*/*.parquet")
        assert tags["sha256"] == hash_file(file)
        assert tags["sha256"].startswith(inputs[name].dataset.digest)
        assert tags["version"] == file.parent.name
        assert tags["mlflow.data.context"] == context
        assert json.loads(inputs[name].dataset.profile)["rows"] == len(pd.read_parquet(file))
    source = json.loads(inputs["second"].dataset.source)
    assert (source["licence"], source["sha256"]) == ("MIT", f"{1:064x}")
    assert {entry.dataset.name for entry in parent.inputs.dataset_inputs} == {"first", "second"}


def test_every_artifact_is_recorded_with_path_version_and_hash(toy, first) -> None:
    record = json.loads(Path(_download(toy, first["session"], "artifacts.json")).read_text())
    outputs = {entry["name"]: entry for entry in record["outputs"]}
    kept = {path.name.partition(".")[0] for path in toy.data_root.iterdir() if path.name[:6] != "mlflow"}
    assert set(outputs) == kept - {"models", "tracking_spool"}
    for entry in outputs.values():
        assert entry["version"] == record["session"]
        path = Path(entry["path"])
        assert path.exists()
        if path.is_file():
            assert entry["sha256"] == hash_file(path)
    training = json.loads(Path(_download(toy, first["training"], "artifacts.json")).read_text())
    assert {entry["name"] for entry in training["inputs"]} == {"tokenised_pairs", "base_model"}
    made = {"adapter", "training_history", "training_summary"}
    assert {entry["name"] for entry in training["outputs"]} == made


def test_small_files_are_copied_and_large_kinds_are_not(first, client) -> None:
    def files(name: str) -> set[str]:
        return {file.path for file in client.list_artifacts(first[name].info.run_id)}

    assert files("training") == {"artifacts.json", "training_history.csv", "training_summary.json"}
    assert files("evaluation") == {"artifacts.json", "heldout_metrics.csv", "safety_metrics.csv", "lineage"}
    made = {"base_model.json", "ingestion_summary.json"}
    assert files("session") == {"artifacts.json", "packages.txt", "run_params.json", *made}


def test_records_that_lie_beside_artifacts_are_kept_in_a_folder_of_their_own(toy, first, client) -> None:
    run = first["evaluation"].info.run_id
    assert [file.path for file in client.list_artifacts(run, "lineage")] == [
        "lineage/heldout_metrics.lineage.json"
    ]
    text = Path(_download(toy, first["evaluation"], "lineage/heldout_metrics.lineage.json")).read_text()
    assert json.loads(text) == {"name": "heldout_metrics"}


def test_what_kedro_was_asked_for_is_kept(toy, first) -> None:
    asked = json.loads(Path(_download(toy, first["session"], "run_params.json")).read_text())
    assert asked["runtime_params"] == {"data_root": str(toy.data_root)}
    assert asked["run_id"] == first["session"].data.tags["kedro.session"]


def test_a_whole_run_leaves_nothing_waiting(toy, first) -> None:
    assert list(toy.spool.iterdir()) == []


def test_the_registered_model_answers_as_peft_does_and_holds_no_pickle(
    toy, first, client, tmp_path, ask_registered_model
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    [folder] = (toy.data_root / "adapter").glob("*/adapter")
    base = toy.data_root / "models" / "tiny-llama"
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), folder)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Is it safe?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    output = model.generate(**ids, max_new_tokens=8, do_sample=False)
    expected = tokenizer.decode(output[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    stored = Path(client.get_model_version("toy_adapter", "1").source)
    # Before it is loaded, for which Python may write its own.
    assert not list(stored.rglob("__pycache__"))
    answers = ask_registered_model(toy.tracking_uri, "toy_adapter", "Is it safe?", tokens=8, cwd=tmp_path)
    assert answers == [expected]

    suffixes = {path.suffix for path in stored.rglob("*") if path.is_file()}
    assert not suffixes & {".pkl", ".pickle", ".bin", ".pt", ".joblib"}
    assert (stored / "artifacts" / "adapter" / "adapter_model.safetensors").is_file()


def test_the_global_store_is_left_alone(toy, first) -> None:
    assert toy.git("status", "--porcelain") == ""


def test_training_alone_still_names_the_pairs_that_its_tokens_came_from(toy, first) -> None:
    (toy.project / "notes.txt").write_text("not committed")
    done = toy.run("--pipelines", "training", **{"training.steps": "2"})
    (toy.project / "notes.txt").unlink()
    assert done.returncode == 0, done.stdout
    command = f"mlflow server --backend-store-uri {toy.tracking_uri}"
    assert re.search(rf"Tracked in MLflow, experiment toy, run \w+: {command}", done.stdout)
    runs = runs_by_name(toy.tracking_uri)
    assert set(runs) == {"session", "training"}
    assert runs["session"].data.tags["git.dirty"] == "true"
    inputs = {entry.dataset.name: entry for entry in runs["training"].inputs.dataset_inputs}
    versions = {tag.value for tag in inputs["training_pairs"].tags if tag.key == "version"}
    assert versions == {first["training"].data.tags["kedro.session"]}
    assert "second" in inputs
    assert runs["training"].data.tags["registered_model"] == "toy_adapter/2"


def test_an_error_fails_the_runs_and_names_its_first_line(toy, first) -> None:
    done = toy.run("--pipelines", "evaluation", **{"evaluation.fail": "error"})
    assert done.returncode != 0
    runs = runs_by_name(toy.tracking_uri)
    assert {name: run.info.status for name, run in runs.items()} == {
        "session": "FAILED",
        "evaluation": "FAILED",
    }
    assert {run.data.tags["error"] for run in runs.values()} == {"ValueError: two pairs have no tokens"}


def test_an_interrupt_kills_the_runs_and_keeps_the_curve_so_far(toy, first, client) -> None:
    done = toy.run("--pipelines", "training", **{"training.steps": "50", "training.interrupt_at": "40"})
    assert done.returncode != 0
    runs = runs_by_name(toy.tracking_uri)
    assert {name: run.info.status for name, run in runs.items()} == {
        "session": "KILLED",
        "training": "KILLED",
    }
    losses = client.get_metric_history(runs["training"].info.run_id, "train/loss")
    assert sorted(metric.step for metric in losses) == list(range(1, 41))


def test_a_missing_server_is_one_warning_and_the_run_goes_on(toy, first) -> None:
    before = len(list((toy.data_root / "heldout_metrics.csv").iterdir()))
    done = toy.run("--pipelines", "evaluation", tracking_uri=f"http://me:{SECRET}@127.0.0.1:9")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(WAITS) == 1
    assert len(list((toy.data_root / "heldout_metrics.csv").iterdir())) == before + 1
    [waiting] = toy.spool.iterdir()
    kept = [path for path in waiting.rglob("*") if path.is_file()]
    assert "ConnectionRefusedError" in (waiting / "state.json").read_text()
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in done.stdout
    shutil.rmtree(waiting)


def test_a_spool_that_cannot_be_written_is_one_warning_and_the_run_goes_on(toy, first) -> None:
    kept = toy.spool.with_name("kept")
    toy.spool.rename(kept)
    toy.spool.write_text("in the way")
    try:
        done = toy.run("--pipelines", "evaluation")
    finally:
        toy.spool.unlink()
        kept.rename(toy.spool)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("MLflow tracking failed") == 1


def test_a_server_takes_runs_and_model(toy, first, server, tmp_path, ask_registered_model) -> None:
    server.start()
    uri = server.uri
    done = toy.run("--pipelines", "training", tracking_uri=uri, **{"training.steps": "3"})
    assert done.returncode == 0, done.stdout
    assert WAITS not in done.stdout
    assert re.search(rf"Tracked in MLflow, experiment toy, run \w+: {uri}/#/experiments/", done.stdout)
    run = runs_by_name(uri)["training"]
    assert run.info.status == "FINISHED"
    assert len(MlflowClient(uri).get_metric_history(run.info.run_id, "train/loss")) == 3
    assert MlflowClient(uri).get_model_version("toy_adapter", "1").run_id == run.info.run_id
    assert len(ask_registered_model(uri, "toy_adapter", "Hello?", tokens=4, cwd=tmp_path)) == 1


@pytest.mark.parametrize(
    ("entry", "message"),
    [("trackng_uri: x", "trackng_uri"), ("tracking_uri: data/mlruns", "sqlite:///<path>")],
)
def test_wrong_settings_stop_the_run_before_any_node(toy, first, entry: str, message: str) -> None:
    local = toy.project / "conf" / "local" / "tracking.yml"
    local.write_text(f"tracking:\n  {entry}\n")
    try:
        done = toy.run("--pipelines", "evaluation")
    finally:
        local.unlink()
    assert done.returncode != 0
    assert message in done.stdout
    assert "Running node" not in done.stdout


def _download(toy, run, name: str) -> str:
    return download_artifacts(run_id=run.info.run_id, artifact_path=name, tracking_uri=toy.tracking_uri)

from pathlib import Path

import pytest
from pydantic import ValidationError

from bdpo_pipeline.tracking.settings import TrackingSettings


def settings(uri: str) -> TrackingSettings:
    return TrackingSettings(
        tracking_uri=uri,
        artifact_location="data/files",
        spool="data/spool",
        experiment="e",
        registered_model="m",
    )


def test_local_paths_are_those_of_the_project() -> None:
    found = settings("sqlite:///data/mlflow.db").relative_to(Path("/project"))
    assert found.tracking_uri == "sqlite:////project/data/mlflow.db"
    assert found.artifact_location == "/project/data/files"
    assert found.spool == "/project/data/spool"


def test_absolute_paths_and_servers_stay() -> None:
    assert settings("sqlite:////x/y.db").relative_to(Path("/p")).tracking_uri == "sqlite:////x/y.db"
    assert settings("http://host:5000").relative_to(Path("/p")).tracking_uri == "http://host:5000"


def test_servers_are_told_from_databases() -> None:
    assert settings("https://host").is_server
    assert not settings("postgresql+psycopg://host/db").is_server


def test_passwords_do_not_show() -> None:
    assert settings("http://me:pw@host:5000/x").public_uri == "http://***@host:5000/x"
    assert settings("sqlite:///data/mlflow.db").public_uri == "sqlite:///data/mlflow.db"


def test_a_run_is_seen_at_its_address_or_after_a_command() -> None:
    assert settings("http://me:pw@host:5000/").page("1", "r") == "http://***@host:5000/#/experiments/1/runs/r"
    assert (
        settings("sqlite:////x/y.db")
        .page("1", "r")
        .startswith("mlflow server --backend-store-uri sqlite:////x/y.db ")
    )


@pytest.mark.parametrize("uri", ["data/mlruns", "file:///data/mlruns", ""])
def test_other_stores_are_refused_with_what_is_accepted(uri: str) -> None:
    with pytest.raises(ValidationError, match=r"for a local file write sqlite:///<path>"):
        settings(uri)

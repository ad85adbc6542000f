"""The adapter as a version of a registered model, with signature, base model and lineage."""

import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import bdpo_pipeline
from bdpo_pipeline.tracking.run_store import TRACKING_ID, RunStore

_PACKAGE = Path(bdpo_pipeline.__file__).parent
_NEEDS = ("torch", "transformers", "peft", "accelerate", "safetensors", "pandas")
DEFAULT_NEW_TOKENS = 128


@dataclass(frozen=True)
class TrainedAdapter:
    """What a registered version is made of: paths of adapter and base model, and how the base weights were held in training."""

    adapter: str
    base_model: str
    dtype: str
    quantisation: str | None


def register_adapter(
    store: RunStore, run: str, trained: TrainedAdapter, tags: Mapping[str, str], tracking_id: str
) -> str:
    """Log the adapter as a model of the run, register it, and return the number of the version.

    The model holds the adapter's files and names its base model by path, hub id and hash; it holds no pickle. What of it is there
    already is not made again.

    Args:
        store: open store.
        run: id of the training run.
        trained: what to register.
        tags: of the version, such as commit and hashes.
        tracking_id: what tells this registration from all others.

    Raises:
        FileNotFoundError: adapter or base model are not where they were.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    for path in (trained.adapter, trained.base_model):
        if not Path(path).exists():
            raise FileNotFoundError(f"{path} is gone, so the adapter cannot be registered")
    client, name = store.client, store.settings.registered_model
    all_tags = {**tags, TRACKING_ID: tracking_id}
    with_id = f"tags.{TRACKING_ID} = '{tracking_id}'"
    found = client.search_logged_models([store.experiment_id], with_id)
    logged = (
        found[0] if found else client.create_logged_model(store.experiment_id, "adapter", run, tags=all_tags)
    )
    if logged.status != LoggedModelStatus.READY:
        _log_files(store, run, trained, logged.model_id)
        client.finalize_logged_model(logged.model_id, "READY")
    outputs = client.get_run(run).outputs
    if logged.model_id not in {output.model_id for output in (outputs.model_outputs if outputs else [])}:
        client.log_outputs(run, [LoggedModelOutput(logged.model_id, step=0)])
    _make_registered_model(store)
    versions = client.search_model_versions(f"name = '{name}' and run_id = '{run}'")
    made = [version for version in versions if version.tags.get(TRACKING_ID) == tracking_id]
    # Not `models:/<id>`: MLflow would look that up in its global store instead of this client's.
    version = made or [
        client.create_model_version(
            name, logged.artifact_location, run_id=run, tags=all_tags, model_id=logged.model_id
        )
    ]
    return str(version[0].version)


def _log_files(store: RunStore, run: str, trained: TrainedAdapter, model_id: str) -> None:
    import mlflow.pyfunc
    from mlflow.models import Model

    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        # An input example would make MLflow load base model and adapter here; the signature is written out instead.
        warnings.simplefilter("ignore", category=UserWarning)
        folder = str(Path(scratch) / "model")
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(Path(__file__).with_name("registered_model.py")),
            code_paths=[_model_code(Path(scratch))],
            artifacts={"adapter": trained.adapter, "base_model": trained.base_model},
            model_config={
                "base_model_path": None,
                "dtype": trained.dtype,
                "quantisation": trained.quantisation,
            },
            signature=_signature(),
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in _needs(trained)],
            mlflow_model=Model(run_id=run, model_id=model_id),
        )
        store.client.log_model_artifacts(model_id, folder)


def _make_registered_model(store: RunStore) -> None:
    from mlflow.exceptions import MlflowException

    try:
        store.client.create_registered_model(store.settings.registered_model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _needs(trained: TrainedAdapter) -> tuple[str, ...]:
    return (*_NEEDS, "bitsandbytes") if trained.quantisation else _NEEDS


def _model_code(folder: Path) -> str:
    """Return a copy of this package with nothing but `models`, which imports nothing else of it."""
    package = folder / _PACKAGE.name
    shutil.copytree(_PACKAGE / "models", package / "models", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(_PACKAGE / "__init__.py", package)
    return str(package)


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    return ModelSignature(
        inputs=Schema([ColSpec("string", "prompt")]),
        outputs=Schema([ColSpec("string", "response")]),
        params=ParamSchema([ParamSpec("max_new_tokens", "integer", DEFAULT_NEW_TOKENS)]),
    )

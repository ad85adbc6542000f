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
from bdpo_pipeline.lineage.artifacts import Artifact
from bdpo_pipeline.tracking.run_store import RunStore

_PACKAGE = Path(bdpo_pipeline.__file__).parent
_NEEDS = ("torch", "transformers", "peft", "accelerate", "safetensors", "pandas")
DEFAULT_NEW_TOKENS = 128


@dataclass(frozen=True)
class TrainedAdapter:
    """What a registered version is made of: adapter and base model as artifacts, and how the base weights were held in training."""

    adapter: Artifact
    base_model: Artifact
    dtype: str
    quantisation: str | None


def register_adapter(store: RunStore, run: str, trained: TrainedAdapter, tags: Mapping[str, str]) -> str:
    """Log the adapter as a model of the run, register it, and return the number of the version.

    The model holds the adapter's files and names its base model by path, hub id and hash; it holds no pickle.

    Args:
        store: open store.
        run: id of the training run.
        trained: what to register.
        tags: of the version, such as commit and hashes.
    """
    import mlflow.pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    client = store.client
    logged = client.create_logged_model(store.experiment_id, "adapter", run, tags=dict(tags))
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        # An input example would make MLflow load base model and adapter here; the signature is written out instead.
        warnings.simplefilter("ignore", category=UserWarning)
        folder = str(Path(scratch) / "model")
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(Path(__file__).with_name("registered_model.py")),
            code_paths=[_model_code(Path(scratch))],
            artifacts={"adapter": trained.adapter.path, "base_model": trained.base_model.path},
            model_config={
                "base_model_path": None,
                "dtype": trained.dtype,
                "quantisation": trained.quantisation,
            },
            signature=_signature(),
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in _needs(trained)],
            mlflow_model=Model(run_id=run, model_id=logged.model_id),
        )
        client.log_model_artifacts(logged.model_id, folder)
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run, [LoggedModelOutput(logged.model_id, step=0)])
    name = store.settings.registered_model
    try:
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(name)
    # Not `models:/<id>`: MLflow would look that up in its global store instead of this client's.
    version = client.create_model_version(
        name, logged.artifact_location, run_id=run, tags=dict(tags), model_id=logged.model_id
    )
    return str(version.version)


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

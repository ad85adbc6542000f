"""What training made, as a versioned catalog data set: a PEFT adapter folder, or a model folder where all weights were trained."""

import filecmp
import json
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractVersionedDataset, Version
from kedro.io.core import VersionNotFoundError

from bdpo_pipeline.io.staging import link_or_copy, staged

_INDEX = "model.safetensors.index.json"
_PICKLED = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"}


class InvalidAdapterError(ValueError):
    """The folder is not an adapter that can be kept; the message says why and what to do."""


class AdapterDataset(AbstractVersionedDataset[str | Path, Path]):
    """Keeps adapter folders by version; what is saved and loaded is the path of a folder.

    A version appears in one step, by renaming a complete folder: a killed run leaves no half-written adapter.
    A file with the same bytes as in the latest version is stored once, as a hard link.

    Example of a catalog entry::

        adapter:
          type: bdpo_pipeline.io.adapter_dataset.AdapterDataset
          filepath: data/06_models/adapter
          versioned: true
    """

    def __init__(
        self, *, filepath: str, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        """Set where the versions live.

        Args:
            filepath: local folder; version ``v`` is kept in ``<filepath>/<v>/<name of filepath>``.
            version: Kedro's load and save version; None keeps a single, unversioned adapter.
            metadata: anything, for plugins such as Kedro-Viz.
        """
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata

    def save(self, data: str | Path) -> None:
        """Copy the adapter folder at ``data`` into the version.

        Raises:
            InvalidAdapterError: (as the cause of Kedro's DatasetError) weights or config are missing or
                unreadable, or the folder holds pickled files.
            NoSpaceError: (as the cause of Kedro's DatasetError) the file system is full.
        """
        source = Path(data)
        check_adapter(source)
        target = Path(self._get_save_path())
        needed = sum(path.stat().st_size for path in source.rglob("*"))
        with staged(target, versioned=self._version is not None, needed=needed) as partial:
            _copy_folder(source, partial, self._latest_version())

    def load(self) -> Path:
        """Return the folder of the version.

        Raises:
            InvalidAdapterError: (as the cause of Kedro's DatasetError) the folder is damaged.
        """
        folder = Path(self._get_load_path())
        check_adapter(folder)
        return folder

    def _exists(self) -> bool:
        return (Path(self._get_load_path()) / _kind(Path(self._get_load_path())).config).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "version": self._version}

    def _latest_version(self) -> Path | None:
        try:
            newest = self.list_versions() if self._version else []
        except VersionNotFoundError:
            return None
        return Path(newest[0]) if newest else None


@dataclass(frozen=True)
class _Kind:
    """What a folder must hold: a configuration with a telling field, and weights."""

    name: str
    config: str
    field: str
    weights: str
    writer: str


_ADAPTER = _Kind(
    "a PEFT configuration",
    "adapter_config.json",
    "peft_type",
    "adapter_model.safetensors",
    "PeftModel.save_pretrained",
)
_MODEL = _Kind(
    "a model configuration",
    "config.json",
    "model_type",
    "model.safetensors",
    "PreTrainedModel.save_pretrained",
)


def _kind(folder: Path) -> _Kind:
    model = (folder / _MODEL.config).is_file() and not (folder / _ADAPTER.config).is_file()
    return _MODEL if model else _ADAPTER


def check_adapter(folder: Path) -> None:
    """Check that a folder holds a complete PEFT adapter, or a complete model, in safetensors.

    Raises:
        InvalidAdapterError: naming the file, what is wrong with it, and the fix.
    """
    if not folder.is_dir():
        raise InvalidAdapterError(f"{folder} is not a folder; give the folder that save_pretrained wrote.")
    pickled = sorted(path.name for path in folder.rglob("*") if path.suffix in _PICKLED)
    if pickled:
        raise InvalidAdapterError(
            f"{folder} holds pickled files ({', '.join(pickled)}), which can run code when loaded; "
            f"save with safe_serialization=True and remove them."
        )
    kind = _kind(folder)
    weights = _weight_files(folder, kind)
    present = {path.name for path in folder.iterdir() if path.is_file()}
    missing = [name for name in (*weights, kind.config) if name not in present]
    if missing:
        raise InvalidAdapterError(f"{folder} lacks {' and '.join(missing)}; write it with {kind.writer}.")
    if kind.field not in _read_json(folder / kind.config):
        raise InvalidAdapterError(
            f"{folder / kind.config} has no field {kind.field}, so it is not {kind.name}."
        )
    for name in weights:
        _check_weights(folder / name)


def _weight_files(folder: Path, kind: _Kind) -> list[str]:
    """Return the names of the files with the weights: those of the index where there is one."""
    if kind is _MODEL and (folder / _INDEX).is_file():
        path = folder / _INDEX
        files = _read_json(path).get("weight_map")
        if (
            not isinstance(files, dict)
            or not files
            or not all(isinstance(name, str) for name in files.values())
        ):
            raise InvalidAdapterError(
                f"{path}: weight_map must give for each tensor the name of a file in this folder; found {str(files)[:80]!r}. "
                f"Write it again with {kind.writer}."
            )
        return sorted(set(files.values()))
    return [kind.weights]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidAdapterError(f"{path} is not JSON ({error}); write it again.") from error
    if not isinstance(found, dict):
        raise InvalidAdapterError(
            f"{path} holds {type(found).__name__} and must hold fields by name; write it again."
        )
    return found


def _check_weights(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as weights:
            names = list(weights.keys())
    except SafetensorError as error:
        raise InvalidAdapterError(
            f"{path} is not a complete safetensors file ({error}); write it again."
        ) from error
    if not names:
        raise InvalidAdapterError(f"{path} holds no tensors; write it again.")


def _copy_folder(source: Path, target: Path, latest: Path | None) -> None:
    """Copy a folder; what the latest version has in the same bytes is linked instead."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        name = path.relative_to(source)
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if latest and (latest / name).is_file() and filecmp.cmp(path, latest / name, shallow=False):
            link_or_copy(latest / name, target / name)
        else:
            shutil.copyfile(path, target / name)

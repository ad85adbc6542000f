"""A PEFT adapter folder as a versioned catalog data set."""

import filecmp
import json
import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractVersionedDataset, Version
from kedro.io.core import VersionNotFoundError

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
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
        """
        source = Path(data)
        check_adapter(source)
        target = Path(self._get_save_path())
        latest = self._latest_version()
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".incomplete-") as staging:
            complete = Path(staging) / target.name
            _copy_folder(source, complete, latest)
            if self._version is None and target.exists():
                target.rename(Path(staging) / "replaced")
            complete.rename(target)

    def load(self) -> Path:
        """Return the folder of the version.

        Raises:
            InvalidAdapterError: (as the cause of Kedro's DatasetError) the folder is damaged.
        """
        folder = Path(self._get_load_path())
        check_adapter(folder)
        return folder

    def _exists(self) -> bool:
        folder = Path(self._get_load_path())
        return (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "version": self._version}

    def _latest_version(self) -> Path | None:
        try:
            newest = self.list_versions() if self._version else []
        except VersionNotFoundError:
            return None
        return Path(newest[0]) if newest else None


def check_adapter(folder: Path) -> None:
    """Check that a folder holds a complete PEFT adapter in safetensors.

    Raises:
        InvalidAdapterError: naming the file, what is wrong with it, and the fix.
    """
    from safetensors import SafetensorError, safe_open

    if not folder.is_dir():
        raise InvalidAdapterError(f"{folder} is not a folder; give the folder that save_pretrained wrote.")
    pickled = sorted(path.name for path in folder.rglob("*") if path.suffix in _PICKLED)
    if pickled:
        raise InvalidAdapterError(
            f"{folder} holds pickled files ({', '.join(pickled)}), which can run code when loaded; "
            f"save the adapter with safe_serialization=True and remove them."
        )
    missing = [name for name in (WEIGHTS, CONFIG) if not (folder / name).is_file()]
    if missing:
        raise InvalidAdapterError(
            f"{folder} lacks {' and '.join(missing)}; write the adapter with PeftModel.save_pretrained."
        )
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidAdapterError(
            f"{folder / CONFIG} is not JSON ({error}); write the adapter again."
        ) from error
    if not isinstance(config, dict) or "peft_type" not in config:
        raise InvalidAdapterError(
            f"{folder / CONFIG} has no field peft_type, so it is not a PEFT configuration."
        )
    try:
        with safe_open(folder / WEIGHTS, framework="numpy") as weights:
            names = list(weights.keys())
    except SafetensorError as error:
        raise InvalidAdapterError(
            f"{folder / WEIGHTS} is not a complete safetensors file ({error}); write the adapter again."
        ) from error
    if not names:
        raise InvalidAdapterError(f"{folder / WEIGHTS} holds no tensors; write the adapter again.")


def _copy_folder(source: Path, target: Path, latest: Path | None) -> None:
    """Copy a folder; what the latest version has in the same bytes is linked instead."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        name = path.relative_to(source)
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if latest and (latest / name).is_file() and filecmp.cmp(path, latest / name, shallow=False):
            _link_or_copy(latest / name, target / name)
        else:
            shutil.copyfile(path, target / name)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # some file systems have no hard links
        shutil.copyfile(source, target)

"""Catalog entries as files: where they are, which version, which bytes."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kedro.io import AbstractVersionedDataset, CatalogProtocol

from bdpo_pipeline.models.fingerprints import hash_file

_SMALL_BYTES = 20 * 2**20
_READABLE = {".json", ".csv", ".html", ".md", ".png", ".svg", ".txt", ".yml", ".yaml"}


def record_path(artifact: Path | str) -> Path:
    """Return where the lineage record of an artifact lies."""
    return Path(f"{artifact}.lineage.json")


@dataclass(frozen=True)
class Artifact:
    """One version of a catalog entry. ``sha256`` of a folder covers the names and bytes of all its files."""

    name: str
    path: str
    version: str | None
    sha256: str
    bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, for JSON."""
        return asdict(self)

    @property
    def is_readable(self) -> bool:
        """Whether it is a file that a person or a browser reads, and small enough to be copied."""
        path = Path(self.path)
        return path.is_file() and path.suffix in _READABLE and self.bytes <= _SMALL_BYTES


def saved_artifact(catalog: CatalogProtocol[str, Any], name: str) -> Artifact | None:
    """Return what the running session saved as ``name``; None for what is not kept in a local file."""
    dataset = catalog.get(name)
    if isinstance(dataset, AbstractVersionedDataset):
        return _artifact(name, dataset, dataset.resolve_save_version())
    return _unversioned(name, dataset)


def loaded_artifact(catalog: CatalogProtocol[str, Any], name: str) -> Artifact | None:
    """Return what the running session loads as ``name``; None for what is not kept in a local file."""
    dataset = catalog.get(name)
    if isinstance(dataset, AbstractVersionedDataset):
        return _artifact(name, dataset, dataset.resolve_load_version()) if dataset.exists() else None
    return _unversioned(name, dataset)


def artifact_not_after(catalog: CatalogProtocol[str, Any], name: str, newest: str) -> Artifact | None:
    """Return the newest version of ``name`` that is not newer than the version ``newest``.

    Versions are the start times of sessions, so this is what a session started at ``newest`` had before it.
    """
    dataset = catalog.get(name)
    if not isinstance(dataset, AbstractVersionedDataset) or not dataset.exists():
        return None
    versions = [version for version in dataset.list_versions(full_path=False) if version <= newest]
    return _artifact(name, dataset, versions[0]) if versions else None


def path_before(catalog: CatalogProtocol[str, Any], name: str, version: str | None) -> Path | None:
    """Return where the newest version of ``name`` lies that is older than ``version``; None if there is none."""
    dataset = catalog.get(name)
    if version is None or not isinstance(dataset, AbstractVersionedDataset):
        return None
    older = [found for found in dataset.list_versions(full_path=False) if found < version]
    return Path(dataset._get_versioned_path(older[0])) if older else None


def loaded_path(dataset: Any) -> Path | None:
    """Return where a data set loads from now; None for what is not kept in a local file or has no version yet."""
    if isinstance(dataset, AbstractVersionedDataset):
        return Path(dataset._get_load_path()) if dataset.exists() else None
    path = getattr(dataset, "_filepath", None)
    return Path(path) if path and Path(path).is_file() else None


def files_of(path: Path) -> list[Path]:
    """Return the files of an artifact, which is a file or a folder of files."""
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def hash_artifact(path: Path, hash_one: Callable[[Path], str] = hash_file) -> str:
    """Return the SHA-256 of a file, or one over the names and bytes of all files of a folder.

    Args:
        path: of the artifact.
        hash_one: gives that of one file; one that remembers spares reading it again.
    """
    if path.is_file():
        return hash_one(path)
    digest = hashlib.sha256()
    for file in files_of(path):
        digest.update(f"{file.relative_to(path).as_posix()}\0{hash_one(file)}\n".encode())
    return digest.hexdigest()


def _artifact(name: str, dataset: AbstractVersionedDataset[Any, Any], version: str | None) -> Artifact | None:
    if version is None:
        return _unversioned(name, dataset)
    return _measured(name, Path(dataset._get_versioned_path(version)), version)


def _unversioned(name: str, dataset: Any) -> Artifact | None:
    # A folder without versions, such as the raw data, may be huge; ingestion hashes the files that it reads.
    path = getattr(dataset, "_filepath", None)
    return _measured(name, Path(path), None) if path and Path(path).is_file() else None


def _measured(name: str, path: Path, version: str | None) -> Artifact | None:
    if not path.exists():
        return None
    size = sum(file.stat().st_size for file in files_of(path))
    return Artifact(name, str(path), version, hash_artifact(path), size)

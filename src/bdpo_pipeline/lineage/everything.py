"""One look at everything below the data folder: artifacts, records, origins, converted models, the reference cache, checkpoints."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedro.io import AbstractVersionedDataset, CatalogProtocol

from bdpo_pipeline.lineage.library import read_library
from bdpo_pipeline.lineage.recipe import FileHashes
from bdpo_pipeline.lineage.verify import (
    Finding,
    verify_artifacts,
    verify_origins,
    verify_records_exist,
)


@dataclass(frozen=True)
class Checked:
    """What was looked at and found."""

    findings: list[Finding]
    summary: str

    @property
    def altered(self) -> bool:
        """Whether anything is not what it was; an artifact without a record is no alteration."""
        return any(finding.kind != "without record" for finding in self.findings)


def verify_everything(
    catalog: CatalogProtocol[str, Any], data_root: Path, reference_cache: Path, scratch: Path
) -> Checked:
    """Hash everything again.

    Args:
        catalog: of the project; it says which artifacts there are.
        data_root: folder of everything that runs make.
        reference_cache: file of the log-prob store.
        scratch: folder of jobs, with their checkpoints.
    """
    library, damaged = read_library(data_root)
    hashes = FileHashes()
    findings = [Finding("altered", line.partition(" ")[0], line.partition(" ")[2]) for line in damaged]
    findings += verify_artifacts(library, hashes)
    findings += verify_origins(library, hashes)
    findings += verify_records_exist(list(_versions(catalog)))
    models = list(_converted_models(data_root))
    findings += [finding for model in models for finding in _verify_model(model)]
    rows, of_cache = _verify_cache(reference_cache)
    findings += of_cache
    checkpoints = sorted(scratch.glob("train-*/checkpoint-*"))
    findings += [finding for folder in checkpoints for finding in _verify_checkpoint(folder)]
    looked_at = (
        f"{len(library.entries)} artifacts with their records, {len(models)} converted models, {rows} rows of the reference cache, "
        f"{len(checkpoints)} checkpoints"
    )
    return Checked(
        findings, f"{looked_at}: {len(findings) or 'no'} finding{'' if len(findings) == 1 else 's'}"
    )


def _versions(catalog: CatalogProtocol[str, Any]) -> Iterator[Path]:
    """Yield every version of every artifact that the catalog names."""
    for name in catalog:
        dataset = catalog[name]
        if isinstance(dataset, AbstractVersionedDataset) and dataset.exists():
            yield from map(Path, dataset.list_versions())


def _converted_models(data_root: Path) -> Iterator[Path]:
    from bdpo_pipeline.models.prepare import FINGERPRINTS

    for note in sorted(data_root.glob(f"*/*/*{FINGERPRINTS}")):
        folder = note.with_name(note.name.removesuffix(FINGERPRINTS))
        if folder.is_dir():
            yield folder


def _verify_model(folder: Path) -> Iterator[Finding]:
    from bdpo_pipeline.models.prepare import AlteredModelError, check_converted

    try:
        check_converted(folder)
    except AlteredModelError as error:
        yield Finding("altered", str(folder), str(error))


def _verify_cache(path: Path) -> tuple[int, list[Finding]]:
    """Return how many rows of the reference cache are whole, and what is wrong with others."""
    from bdpo_pipeline.cache.repair import check

    if not path.is_file():
        return 0, []
    condition = check(path)
    return condition.intact_rows, [Finding("altered", str(path), problem) for problem in condition.problems]


def _verify_checkpoint(folder: Path) -> Iterator[Finding]:
    from bdpo_pipeline.engine.checkpoint_files import read_checkpoint
    from bdpo_pipeline.engine.sealed import DamagedError

    try:
        read_checkpoint(folder)
    except DamagedError as error:
        yield Finding("altered", str(folder), str(error))

"""Data sets as MLflow records them: name, digest, source, and what they were used for; as plain data for the journal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bdpo_pipeline.lineage.artifacts import Artifact

# MLflow takes digests of at most 36 characters; the whole hash stands in a tag.
_DIGEST = 32


def table_input(artifact: Artifact, context: str) -> dict[str, Any]:
    """Return a catalog table as a data set input.

    Args:
        artifact: the version that was used.
        context: what for, such as ``training``.
    """
    source = {"uri": artifact.path, "version": artifact.version, "sha256": artifact.sha256}
    tags = {"version": artifact.version or "unversioned", "sha256": artifact.sha256}
    return _dataset_input(artifact.name, artifact.sha256, "local", source, _profile(artifact), context, tags)


def source_input(source: Mapping[str, Any], context: str) -> dict[str, Any]:
    """Return a raw source, a row of ``ingestion_summary``, as a data set input."""
    place = source.get("hub") or source.get("file")
    kind = "hugging_face" if source.get("hub") else "local"
    profile = {key: source[key] for key in ("rows_read", "pairs", "quarantined", "licence") if key in source}
    tags = {"sha256": str(source["sha256"]), "licence": str(source.get("licence"))}
    return _dataset_input(
        str(source["name"]), str(source["sha256"]), kind, {"uri": place, **source}, profile, context, tags
    )


def _dataset_input(
    name: str,
    sha256: str,
    source_type: str,
    source: Mapping[str, Any],
    profile: Mapping[str, Any],
    context: str,
    tags: Mapping[str, str],
) -> dict[str, Any]:
    return {
        "name": name,
        "digest": sha256[:_DIGEST],
        "source_type": source_type,
        "source": dict(source),
        "profile": dict(profile),
        "tags": {"mlflow.data.context": context, **tags},
    }


def _profile(artifact: Artifact) -> dict[str, Any]:
    if Path(artifact.path).suffix != ".parquet":
        return {"bytes": artifact.bytes}
    from pyarrow import parquet

    return {"bytes": artifact.bytes, "rows": parquet.read_metadata(artifact.path).num_rows}

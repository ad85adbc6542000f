"""Sources to canonical pairs, quarantined rows and an account of both."""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.io.schemas import get_schema
from bdpo_pipeline.io.tables import StoredTable, TableWriter
from bdpo_pipeline.preferences.defects import RowError, show_names
from bdpo_pipeline.preferences.formats import FORMATS, detect_format
from bdpo_pipeline.preferences.lines import RawRow
from bdpo_pipeline.preferences.policy import NoPreferenceError, Preference, choose
from bdpo_pipeline.preferences.readers import read_file, read_hub
from bdpo_pipeline.preferences.rows import build_row
from bdpo_pipeline.preferences.sources import PreferenceSource

ROWS_TO_DETECT = 50
QUARANTINED_CHARACTERS = 2_000


@dataclass
class SourceAccount:
    """What became of a source's rows; ``rows_read`` is the sum of pairs, quarantined rows and rows without preference."""

    rows_read: int = 0
    pairs: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    no_preference: Counter[str] = field(default_factory=Counter)


def ingest(
    sources: Sequence[PreferenceSource], raw: RawFolder, preference: Preference, max_row_bytes: int
) -> tuple[StoredTable, StoredTable, list[dict[str, Any]]]:
    """Read every source in order, a row at a time.

    Args:
        sources: what to read.
        raw: where relative paths start.
        preference: rule for formats that carry labels.
        max_row_bytes: bound on one row of a text file.

    Returns:
        Canonical pairs, quarantined rows, and one summary for each source (docs/artifacts.md).

    Raises:
        ValueError: a source is not there, or its kind or format cannot be told.
    """
    paths = [raw.find(source.path, f"source {source.name!r}") if source.path else None for source in sources]
    summaries = []
    with (
        TableWriter(get_schema("pairs")) as pairs,
        TableWriter(get_schema("quarantined_rows")) as quarantine,
    ):
        for source, path in zip(sources, paths, strict=True):
            # Read anew for the rows themselves: to hold the first ones back would hold many of the largest size.
            format_name = _settle_format(source, path, max_row_bytes)
            rows = _read(source, path, max_row_bytes)
            account = _ingest_source(source, format_name, preference, rows, pairs, quarantine)
            summaries.append(_summarise(source, path, format_name, account))
        return pairs.finish(), quarantine.finish(), summaries


def _read(source: PreferenceSource, path: Path | None, max_row_bytes: int) -> Iterator[RawRow]:
    if path is not None:
        rows = read_file(path, max_row_bytes)
    else:
        rows = read_hub(str(source.hub), str(source.revision), source.subset, source.hub_split)
    return itertools.islice(rows, source.max_rows)


def _settle_format(source: PreferenceSource, path: Path | None, max_row_bytes: int) -> str:
    if source.format != "auto":
        return source.format
    names: str | None = None
    count = 0
    for row in itertools.islice(_read(source, path, max_row_bytes), ROWS_TO_DETECT):
        count += 1
        found = detect_format(row.fields)
        if found is not None:
            return found
        names = names or (show_names(row.fields) if row.fields else None)
    raise ValueError(
        f"source {source.name!r}: cannot tell the format of {place_of(source)} from its first {count} rows "
        f"(fields: {names or 'none that can be read'}); set `format` to one of {', '.join(FORMATS)}"
    )


def _ingest_source(
    source: PreferenceSource,
    format_name: str,
    preference: Preference,
    rows: Iterator[RawRow],
    pairs: TableWriter,
    quarantine: TableWriter,
) -> SourceAccount:
    parse = FORMATS[format_name]
    place = place_of(source)
    account = SourceAccount()
    for row in rows:
        account.rows_read += 1
        try:
            if row.defect is not None:
                raise row.defect
            candidate = parse(row.fields)
            canonical = build_row(candidate, choose(candidate, preference), source, row.number)
        except RowError as defect:
            account.quarantined[defect.reason] += 1
            quarantine.append(_quarantined(place, row, defect))
        except NoPreferenceError as undecided:
            account.no_preference[undecided.reason] += 1
        else:
            account.pairs += 1
            pairs.append(canonical)
    return account


def place_of(source: PreferenceSource) -> str:
    """Return the path as configured, or the hub id with its revision."""
    return source.path or f"{source.hub}@{source.revision}"


def _quarantined(place: str, row: RawRow, defect: RowError) -> dict[str, Any]:
    if row.text is None:
        content = json.dumps(row.fields, default=str) if row.fields else ""
    else:
        content = row.text[: 4 * QUARANTINED_CHARACTERS].decode("utf-8", errors="replace")
    return {
        "file": place,
        "row": row.number,
        "field": defect.field,
        "reason": defect.reason,
        "message": str(defect),
        "content": content[:QUARANTINED_CHARACTERS],
    }


def _summarise(
    source: PreferenceSource, path: Path | None, format_name: str, account: SourceAccount
) -> dict[str, Any]:
    return {
        "name": source.name,
        "file": source.path,
        "hub": source.hub,
        "revision": source.revision,
        "subset": source.subset,
        "hub_split": source.hub_split if source.hub else None,
        "format": format_name,
        "split": source.split,
        "licence": source.licence,
        "sha256": path and _hash_file(path),
        "bytes": path and path.stat().st_size,
        "rows_read": account.rows_read,
        "pairs": account.pairs,
        "quarantined": account.quarantined.total(),
        "quarantined_reasons": dict(sorted(account.quarantined.items())),
        "no_preference": account.no_preference.total(),
        "no_preference_reasons": dict(sorted(account.no_preference.items())),
    }


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

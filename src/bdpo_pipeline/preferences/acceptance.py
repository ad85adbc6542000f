"""Whether enough of every source could be used."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bdpo_pipeline.io.tables import StoredTable

ROWS_SHOWN = 5


class UnusableSourceError(ValueError):
    """Too many rows of a source are malformed, it breaks off, or none of its rows gives a pair."""


def check_sources(
    summaries: Sequence[Mapping[str, Any]], quarantine: StoredTable, max_quarantined_share: float
) -> None:
    """Raise where a source cannot be trusted as it is; the message shows its first defects and where all of them are.

    Args:
        summaries: one for each source, as :func:`bdpo_pipeline.preferences.ingest.ingest` gives them.
        quarantine: quarantined rows of all sources.
        max_quarantined_share: of the rows of a source, in [0, 1].

    Raises:
        UnusableSourceError: see there.
    """
    for summary in summaries:
        complaint = _complain(summary, max_quarantined_share)
        if complaint:
            shown = "".join(f"\n  {line}" for line in _first_defects(summary, quarantine))
            raise UnusableSourceError(
                f"source {summary['name']!r} ({_place(summary)}): {complaint}{shown}\nAll quarantined rows: {quarantine.path}"
            )


def _complain(summary: Mapping[str, Any], max_quarantined_share: float) -> str | None:
    rows, quarantined = summary["rows_read"], summary["quarantined"]
    if "broken_file" in summary["quarantined_reasons"]:
        return f"the file breaks off after {rows - 1} rows; fetch it again"
    if quarantined > max_quarantined_share * rows:
        return (
            f"{quarantined} of {rows} rows cannot be used, ingestion.max_quarantined_share allows {max_quarantined_share:.2%}; "
            "mend the rows, check `format`, or allow a larger share. The first:"
        )
    if not summary["pairs"]:
        undecided = ", ".join(
            f"{reason}: {count}" for reason, count in summary["no_preference_reasons"].items()
        )
        return (
            f"none of {rows} rows gives a pair ({undecided or 'nothing was read'}); "
            "check the file, its label fields, and ingestion.preference"
        )
    return None


def _first_defects(summary: Mapping[str, Any], quarantine: StoredTable) -> Iterator[str]:
    place = _place(summary)
    shown = 0
    for batch in quarantine.batches():
        for row in batch.to_pylist():
            if row["file"] == place and shown < ROWS_SHOWN:
                shown += 1
                yield f"{row['file']} row {row['row']}, field {row['field'] or '(whole row)'}: {row['reason']}: {row['message']}"


def _place(summary: Mapping[str, Any]) -> str:
    return summary["file"] or f"{summary['hub']}@{summary['revision']}"

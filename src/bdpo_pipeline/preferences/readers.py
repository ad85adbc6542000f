"""Raw rows of a file or hub data set, one at a time, whatever their state."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bdpo_pipeline.preferences.csv_reader import read_csv
from bdpo_pipeline.preferences.defects import RowError, describe, show_name
from bdpo_pipeline.preferences.lines import RawRow, read_lines
from bdpo_pipeline.preferences.parquet_reader import read_parquet

SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet")


def read_file(path: Path, max_row_bytes: int) -> Iterator[RawRow]:
    """Yield the rows of a file in order, holding one at a time.

    Args:
        path: file that ends in one of ``SUFFIXES``.
        max_row_bytes: a longer row is not read but reported.

    Raises:
        ValueError: another suffix; or a file of which not even the beginning can be read: not Parquet, or CSV without a header line
            that names each column once.
    """
    name = path.name.lower()
    if name.endswith((".jsonl", ".jsonl.gz")):
        return _read_json_lines(path, max_row_bytes)
    if name.endswith((".csv", ".csv.gz")):
        return read_csv(path, max_row_bytes)
    if name.endswith(".parquet"):
        return read_parquet(path, max_row_bytes)
    raise ValueError(f"{path}: cannot read this kind of file; accepted: {', '.join(SUFFIXES)}")


def read_hub(name: str, revision: str, subset: str | None, split: str) -> Iterator[RawRow]:
    """Stream the rows of a hub data set through ``datasets``; the data is not kept on disk.

    Raises:
        ValueError: there is no such data set, subset, split or revision, or the hub cannot be reached.
    """
    from datasets import load_dataset

    try:
        rows = iter(load_dataset(name, name=subset, split=split, revision=revision, streaming=True))
    except Exception as error:
        raise ValueError(
            f"hub data set {name}@{revision} (subset {subset}, split {split}) cannot be read: {error}; "
            "check the names and the connection, or download it and give `path`"
        ) from error
    for number in itertools.count(1):
        try:
            fields = next(rows)
        except StopIteration:
            return
        # Each kind of file is read by a library of its own, with errors of its own.
        except Exception as error:  # noqa: BLE001
            message = f"reading ends with {type(error).__name__}: {describe(str(error))}; what follows is lost, try again"
            yield RawRow(number, {}, None, RowError("broken_file", None, message))
            return
        yield RawRow(number, fields)


def _read_json_lines(path: Path, max_row_bytes: int) -> Iterator[RawRow]:
    for number, (line, defect) in enumerate(read_lines(path, max_row_bytes), start=1):
        if defect is not None:
            yield RawRow(number, {}, line, defect)
        elif line.strip():
            try:
                yield RawRow(number, _parse_object(line, number), line)
            except RowError as broken:
                yield RawRow(number, {}, line, broken)


def _parse_object(line: bytes, number: int) -> dict[str, Any]:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        message = f"not UTF-8 at byte {error.start}; save the file as UTF-8"
        raise RowError("broken_encoding", None, message) from error
    try:
        value = json.loads(text, object_pairs_hook=_to_object)
    except RowError:
        raise
    except (ValueError, RecursionError) as error:
        raise RowError("broken_json", None, f"not JSON: {error}") from error
    if not isinstance(value, dict):
        message = f"found {describe(value)}; accepted: a JSON object, one a line"
        raise RowError("not_an_object", None, message)
    return value


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            shown = show_name(name)
            message = f"{shown!r} stands more than once in an object; accepted: each name once"
            raise RowError("duplicate_field", shown, message)
        found[name] = value
    return found

"""What became of a file that was handed to the project, and whether that was as it should be."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bdpo_pipeline.benchmarks.prompts import read_prompt_sets
from bdpo_pipeline.benchmarks.sources import EvaluationPromptSet
from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.preferences.acceptance import check_sources
from bdpo_pipeline.preferences.ingest import ingest
from bdpo_pipeline.preferences.sources import PreferenceSource

MAX_ROW_BYTES = 1_000_000
LONGEST_MESSAGE = 4_000
# What a message asks for, in one of the words that ours use.
_ADVICE = re.compile(
    r"\b(accepted|allows?|check|convert|fetch|give|lower|mend|name|put|remove|replace|save|set|takes|use|write|should|"
    r"must|try|did you mean|install|known|required|permitted|optional|valid|the judges are)\b",
    re.IGNORECASE,
)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Violation(AssertionError):  # noqa: N818
    """The project did what it must not do with a file."""


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    Attributes:
        how: ``read``, ``read, refused`` (not enough of it could be used) or ``refused``.
        rows: rows read, by ``pairs``, ``quarantined`` and ``no_preference``.
        message: of the error, if there was one.
    """

    how: str
    rows: Counter[str] = field(default_factory=Counter)
    message: str = ""


def judge_preferences(path: Path, format_name: str, preference: Any = "paper") -> Outcome:
    """Read a preference source as the pipeline does, and check the account of its rows."""
    source = PreferenceSource(name="fuzzed", path=path.name, licence="CC0-1.0", format=format_name)

    def read() -> Outcome:
        pairs, quarantine, summaries = ingest([source], RawFolder(path.parent), preference, MAX_ROW_BYTES)
        rows = _check_account(path, pairs, quarantine, summaries[0])
        refusal = judge(lambda: check_sources(summaries, quarantine, 0.5), path.name)
        return Outcome("read, refused" if refusal else "read", rows, refusal or "")

    return _outcome(read, path.name)


def judge_prompts(path: Path, configured: dict[str, Any]) -> Outcome:
    """Read an evaluation prompt set as the pipeline does."""
    one = EvaluationPromptSet(name="fuzzed", path=path.name, licence="CC0-1.0", **configured)

    def read() -> Outcome:
        prompts = read_prompt_sets([one], RawFolder(path.parent), MAX_ROW_BYTES)
        ids = prompts.to_pandas()["prompt_id"]
        _demand(len(ids) > 0 and ids.is_unique, f"{len(ids)} prompts, with ids that repeat")
        return Outcome("read", Counter(prompts=len(ids)))

    return _outcome(read, path.name)


def _outcome(read: Callable[[], Outcome], name: str) -> Outcome:
    found: list[Outcome] = []
    message = judge(lambda: found.append(read()), name)
    return Outcome("refused", message=message) if message else found[0]


def judge(action: Callable[[], Any], name: str | tuple[str, ...], *others: type[Exception]) -> str | None:
    """Run something that may refuse what it is given, and return the message of the refusal.

    Args:
        action: what is run.
        name: what the message has to name; one of several.
        others: errors that may be raised beside our own.

    Raises:
        Violation: it ended in an error that is not ours, or in one that does not say what is wrong with what.
    """
    try:
        action()
    except Violation:
        raise
    except BaseException as error:
        message = str(error)
        kind = type(error)
        own = kind in (ValueError, RuntimeError) or kind.__module__.startswith("bdpo_pipeline.")
        allowed = own and isinstance(error, ValueError | RuntimeError)
        shown = f"{kind.__name__}: {message[:300]!r}"
        if not (allowed or isinstance(error, (*others, ValidationError))):
            raise Violation(f"not an error of the project: {shown}") from error
        names = (name,) if isinstance(name, str) else name
        _demand(any(name in message for name in names), f"the message does not name {names}: {shown}", error)
        _demand(_ADVICE.search(message) is not None, f"the message does not say what to do: {shown}", error)
        _demand(len(message) <= LONGEST_MESSAGE, f"a message of {len(message)} characters: {shown}", error)
        _demand(not _SURROGATE.search(message), f"a message that no terminal can show: {shown}", error)
        return message
    return None


def _check_account(path: Path, pairs: Any, quarantine: Any, summary: dict[str, Any]) -> Counter[str]:
    counts = {name: summary[name] for name in ("pairs", "quarantined", "no_preference")}
    read = summary["rows_read"]
    _demand(read == sum(counts.values()), f"{read} rows read, but {counts}")
    _demand(pairs.num_rows == counts["pairs"], f"{pairs.num_rows} pairs stored, but {counts}")
    _demand(
        quarantine.num_rows == counts["quarantined"], f"{quarantine.num_rows} rows quarantined, but {counts}"
    )
    lost = [row for batch in quarantine.batches() for row in batch.to_pylist()]
    used = [row for batch in pairs.batches(["source_row"]) for row in batch["source_row"].to_pylist()]
    numbers = [row["row"] for row in lost]
    _demand(len({*numbers, *used}) == len(numbers) + len(used), "a row number stands for two rows")
    for row in lost:
        _demand(row["file"] == path.name and row["row"] >= 1, f"file and row are not named: {row}")
        _demand(bool(row["reason"]) and bool(row["message"]), f"no reason or no message: {row}")
        _demand(len(row["message"]) <= LONGEST_MESSAGE, f"a message of {len(row['message'])} characters")
        _demand(len(row["content"]) <= 2_000, f"content of {len(row['content'])} characters")
        whole = row["reason"] in WHOLE_ROW_REASONS
        _demand(whole or bool(row["field"]), f"no field is named: {row}")
    return Counter(counts)


# Of a row that has no fields that could be named.
WHOLE_ROW_REASONS = (
    "broken_csv", "broken_encoding", "broken_file", "broken_json", "not_an_object", "row_too_long", "wrong_cell_count",
)  # fmt: skip


def _demand(condition: bool, complaint: str, cause: BaseException | None = None) -> None:
    if not condition:
        raise Violation(complaint) from cause

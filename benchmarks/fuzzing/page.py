"""Counts of what became of mutated files, and the page that shows them."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fuzzing.bombs import Bomb, Burst
from fuzzing.cases import Case
from fuzzing.judge import MAX_ROW_BYTES

from bdpo_pipeline.preferences.parquet_rows import MEMORY_BYTES

HOW = ("read", "read, refused", "refused", "violation")
ROWS = ("pairs", "quarantined", "no_preference")


@dataclass
class Tally:
    """What became of the files.

    Attributes:
        seed: of the mutations.
        seconds: that all mutations took.
        outcomes: files by kind and how.
        mutations: files by mutation and how.
        rows: rows by what became of them.
        peaks: most traced memory and longest time of each kind of file, with the mutation that took it.
        violations: files that were not handled as they must be, with the complaint and where they are kept.
        bursts: what files took that ask for much memory.
    """

    seed: int
    seconds: float = 0.0
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    mutations: Counter[tuple[str, str]] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    peaks: defaultdict[str, tuple[int, str]] = field(default_factory=lambda: defaultdict(lambda: (0, "")))
    slowest: defaultdict[str, tuple[float, str]] = field(
        default_factory=lambda: defaultdict(lambda: (0.0, ""))
    )
    violations: list[tuple[Case, str, Path]] = field(default_factory=list)
    bursts: list[tuple[Bomb, Burst]] = field(default_factory=list)

    def add(self, case: Case, how: str, rows: Counter[str], seconds: float, peak: int) -> None:
        """Count one file."""
        self.outcomes[case.kind, how] += 1
        self.mutations[case.mutation.split(",")[0], how] += 1
        self.rows += rows
        self.peaks[case.kind] = max(self.peaks[case.kind], (peak, case.mutation))
        self.slowest[case.kind] = max(self.slowest[case.kind], (seconds, case.mutation))


def write_page(tally: Tally, path: Path) -> None:
    """Write the page."""
    total = sum(tally.outcomes.values())
    path.write_text(
        f"""# Mutated inputs

Made by `python benchmarks/fuzz.py --mutations {total} --seed {tally.seed}`: {total:,} mutated files in {tally.seconds / 60:.0f} minutes,
{len(tally.violations)} handled as they must not be.

Real files are the beginning: the first rows of the shipped data in every format and kind of file, the project's own parameter
files, and the files of a model (the GGUF file is the default model's). *Read*: every row is a pair, a quarantined row with file,
row, field and reason, or a row without a preference, and the three add up to the rows read. *Read, refused*: the same, and then
the run stops, for too much of the source cannot be used. *Refused*: an error that names the file (or the parameter) and what
to do. Anything else (another kind of error, a row that is not accounted for, a message that no terminal can show) would be a
violation.

Rows read: {sum(tally.rows[name] for name in ROWS):,}; of these {_list(tally.rows, ROWS)}. Besides, {tally.rows["prompts"]:,} evaluation
prompts.

## By kind of file

Memory is the most that Python allocated for one file (`tracemalloc`; not traced for GGUF, whose weights are 269 MB by themselves), with
`max_row_bytes` = {MAX_ROW_BYTES:,}.

{_kinds(tally)}
## By mutation

{_table(("mutation", "files", *HOW), _rows(tally.mutations))}
## Files that ask for much memory

Each is read in a process of its own. Resident memory is the process's at its peak, with Python and its libraries. Parquet
is read by a further process, whose address space is bounded to {MEMORY_BYTES >> 20} MiB: what a file declares cannot go beyond.

{_bursts(tally)}
{_violations(tally)}""".rstrip()
        + "\n",
        encoding="utf-8",
    )


def _kinds(tally: Tally) -> str:
    lines = []
    for name, *counts in _rows(tally.outcomes):
        peak, what = tally.peaks[name]
        seconds, slow = tally.slowest[name]
        memory = f"{peak / 1e6:.1f} ({what})" if peak else "not traced"
        lines.append((name, *counts, memory, f"{seconds:.1f} ({slow})"))
    return _table(("file", "files", *HOW, "most memory, MB", "slowest, s"), lines)


def _rows(counts: Counter[tuple[str, str]]) -> list[tuple[str, ...]]:
    names = sorted({name for name, _ in counts})
    return [
        (name, f"{sum(counts[name, how] for how in HOW):,}", *(f"{counts[name, how]:,}" for how in HOW))
        for name in names
    ]


def _bursts(tally: Tally) -> str:
    lines = [
        (
            bomb.what,
            f"`{bomb.name.partition('.')[2]}`",
            f"{burst.file_bytes / 1e6:.3f}",
            f"{burst.peak_bytes / 1e6:.0f}",
            f"{burst.reader_peak_bytes / 1e6:.0f}" if burst.reader_peak_bytes else "",
            burst.how,
            _list(burst.rows, ROWS),
        )
        for bomb, burst in tally.bursts
    ]
    return _table(
        ("what", "kind", "file, MB", "resident, MB", "reader of Parquet, MB", "outcome", "rows"), lines
    )


def _list(counts: Mapping[str, int], names: tuple[str, ...]) -> str:
    return ", ".join(f"{counts[name]:,} {name.replace('_', ' ')}" for name in names if counts.get(name))


def _violations(tally: Tally) -> str:
    if not tally.violations:
        return ""
    lines = [
        (case.kind, case.mutation, complaint.replace("|", "\\|")) for case, complaint, _ in tally.violations
    ]
    return "## Violations\n\n" + _table(("file", "mutation", "what"), lines)


def _table(head: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    rows = [head, ("---",) * len(head), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)

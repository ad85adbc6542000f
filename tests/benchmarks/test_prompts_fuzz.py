"""Whatever an evaluation prompt set holds: it is read whole, or refused with its file and the remedy."""

import itertools
from collections import Counter
from pathlib import Path

import pytest

from bdpo_pipeline.benchmarks import prompts
from bdpo_pipeline.benchmarks.prompts import PromptSetError, read_prompt_sets
from bdpo_pipeline.benchmarks.sources import EvaluationPromptSet
from bdpo_pipeline.io.raw_folder import RawFolder

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _fuzzing():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield


def test_mutated_prompt_sets_are_read_or_refused(tmp_path):
    from fuzzing.cases import prompt_cases, run

    cases = itertools.islice(prompt_cases(1, ("jsonl", "jsonl.gz", "csv", "csv.gz")), 600)
    found = Counter(run(case, tmp_path).how for case in cases)
    assert found.total() == 600
    assert set(found) == {"read", "refused"}


def test_more_text_than_a_benchmark_has_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(prompts, "MAX_CHARACTERS", 10)
    (tmp_path / "rows.csv").write_text("prompt\nfour\nfour\nfour\n")
    one = EvaluationPromptSet(
        name="mine", path="rows.csv", licence="CC0", prompt_column="prompt", desired="refuse"
    )
    with pytest.raises(
        PromptSetError, match=r"rows.csv has more than 10 characters of prompts by row 3; name a part of it"
    ):
        read_prompt_sets([one], RawFolder(tmp_path), 1_000)


def test_judge_finds_what_must_not_be():
    from fuzzing.judge import Violation, judge

    def fails(error):
        raise error

    assert (
        judge(lambda: fails(ValueError("rows.csv: save it as UTF-8")), "rows.csv")
        == "rows.csv: save it as UTF-8"
    )
    for error in (
        KeyError("rows.csv: save it"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "rows.csv: save it"),
        RecursionError("rows.csv: save it"),
        MemoryError("rows.csv: save it"),
        ValueError("save it"),
        ValueError("rows.csv is broken"),
        ValueError("rows.csv: save it, \ud800"),
        ValueError("rows.csv: save it " + "x" * 10_000),
    ):
        with pytest.raises(Violation):
            judge(lambda error=error: fails(error), "rows.csv")


def test_page_counts_what_was_told(tmp_path):
    from fuzzing.bombs import Bomb, Burst
    from fuzzing.cases import Case
    from fuzzing.page import Tally, write_page

    tally = Tally(seed=7, seconds=60.0)
    case = Case("rows .csv", "truncated, inside gzip", "rows.csv", b"", print)
    tally.add(case, "read", Counter(pairs=3, quarantined=1), 0.5, 2_000_000)
    tally.add(case, "violation", Counter(), 1.5, 1_000_000)
    tally.violations.append((case, "a | b", tmp_path))
    bomb = Bomb("line.jsonl.gz", "one line", "auto", print)
    tally.bursts.append((bomb, Burst("read", {"pairs": 5}, "", 3_000_000, 0, 1_000)))
    write_page(tally, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "2 mutated files in 1 minutes" in page
    assert (
        "| rows .csv | 2 | 1 | 0 | 0 | 1 | 2.0 (truncated, inside gzip) | 1.5 (truncated, inside gzip) |"
        in page
    )
    assert "| truncated | 2 | 1 | 0 | 0 | 1 |" in page
    assert "Rows read: 4; of these 3 pairs, 1 quarantined." in page
    assert "| one line | `jsonl.gz` | 0.001 | 3 |  | read | 5 pairs |" in page
    assert "| rows .csv | truncated, inside gzip | a \\| b |" in page

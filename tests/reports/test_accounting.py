import pandas as pd
import pytest

from bdpo_pipeline.reports.accounting import account_for_rows, rows_left
from bdpo_pipeline.reports.artifacts import RunArtifacts


def test_every_row_is_accounted_for(run: RunArtifacts) -> None:
    account = account_for_rows(run.ingestion_summary, run.filtering_funnel, run.training_summary)
    assert account.read == 3695 + 821
    assert account.explained == account.read
    assert account.adds_up
    assert sum(account.used.values()) == 400


def test_a_lost_row_is_seen(run: RunArtifacts) -> None:
    summary = [run.ingestion_summary[0] | {"rows_read": 3696}, run.ingestion_summary[1]]
    account = account_for_rows(summary, run.filtering_funnel, run.training_summary)
    assert not account.adds_up
    assert account.read - account.explained == 1


def test_steps_fall_from_what_was_read_to_what_is_used(run: RunArtifacts) -> None:
    account = account_for_rows(run.ingestion_summary, run.filtering_funnel, run.training_summary)
    steps = rows_left(account, run.filtering_funnel)
    assert steps[0] == ("read", 4516)
    assert steps[-1] == ("subsample", 400)
    assert [rows for _, rows in steps] == sorted((rows for _, rows in steps), reverse=True)


def test_stages_of_one_split_take_from_the_whole() -> None:
    summary = [{"rows_read": 10, "quarantined": 0, "no_preference": 0}]
    lines = [("train: size", 6, 4, 2), ("heldout: size", 4, 1, 3), ("train", 6, 4, 2)]
    lines += [("validation", 0, 0, 0), ("heldout", 4, 1, 3)]
    funnel = pd.DataFrame(lines, columns=["stage", "rows_in", "rows_out", "dropped"])
    account = account_for_rows(summary, funnel, {"training_pairs": 4, "validation_pairs": 0})
    assert rows_left(account, funnel) == [("read", 10), ("train: size", 8), ("heldout: size", 5)]
    assert account.adds_up


def test_pairs_that_the_objective_drops_are_accounted_for(run: RunArtifacts) -> None:
    dropped = run.training_summary | {"training_pairs": 250, "swapped_pairs": 9, "dropped_pairs": 6}
    account = account_for_rows(run.ingestion_summary, run.filtering_funnel, dropped)
    assert account.adds_up
    assert (account.used["train"], account.dropped_by_objective) == (250, 6)
    assert rows_left(account, run.filtering_funnel)[-2:] == [("subsample", 400), ("objective", 394)]
    unsaid = run.training_summary | {"training_pairs": 250}
    assert not account_for_rows(run.ingestion_summary, run.filtering_funnel, unsaid).adds_up


def test_a_funnel_without_splits_is_refused(run: RunArtifacts) -> None:
    with pytest.raises(ValueError, match=r"no row for \['train', 'validation', 'heldout'\]"):
        account_for_rows(run.ingestion_summary, run.filtering_funnel.iloc[:4], run.training_summary)

"""Where every row went: rows read = used + dropped (by filtering, by the objective) + quarantined + without a preference."""

from dataclasses import dataclass
from typing import Any

from bdpo_pipeline.tables import DataFrame

SPLITS = ("train", "validation", "heldout")


@dataclass(frozen=True)
class RowAccount:
    """Rows by what became of them.

    Attributes:
        read: rows of all sources.
        quarantined: malformed rows.
        without_preference: rows whose labels prefer neither response.
        dropped: pairs that filtering left out.
        dropped_by_objective: training and validation pairs that the objective's own policy left out.
        used: pairs by split, as training reports them.
    """

    read: int
    quarantined: int
    without_preference: int
    dropped: int
    dropped_by_objective: int
    used: dict[str, int]

    @property
    def explained(self) -> int:
        """Rows whose fate is known; equal to `read` where nothing was lost."""
        lost = self.quarantined + self.without_preference + self.dropped + self.dropped_by_objective
        return lost + sum(self.used.values())

    @property
    def adds_up(self) -> bool:
        """Whether every row read is accounted for."""
        return self.explained == self.read


def account_for_rows(
    ingestion_summary: list[dict[str, Any]], filtering_funnel: DataFrame, training_summary: dict[str, Any]
) -> RowAccount:
    """Return what became of every row that was read.

    Args:
        ingestion_summary: one entry a source, as in docs/artifacts.md.
        filtering_funnel: one row a stage and reason, then one row a split.
        training_summary: how many pairs training and validation took, and how many the objective dropped.

    Raises:
        ValueError: if the funnel lacks the row of a split.
    """
    splits = filtering_funnel.set_index("stage")["rows_out"]
    missing = [split for split in SPLITS if split not in splits.index]
    if missing:
        raise ValueError(f"filtering_funnel has no row for {missing}; its stages are {list(splits.index)}")
    stages = filtering_funnel[~filtering_funnel["stage"].isin(SPLITS)]
    return RowAccount(
        read=sum(source["rows_read"] for source in ingestion_summary),
        quarantined=sum(source["quarantined"] for source in ingestion_summary),
        without_preference=sum(source["no_preference"] for source in ingestion_summary),
        dropped=int(stages["dropped"].sum()),
        dropped_by_objective=training_summary.get("dropped_pairs", 0),
        used={
            "train": training_summary["training_pairs"],
            "validation": training_summary["validation_pairs"],
            "heldout": int(splits["heldout"]),
        },
    )


def rows_left(account: RowAccount, filtering_funnel: DataFrame) -> list[tuple[str, int]]:
    """Return how many rows were left after each step that took any away, from what was read to what is used."""
    stages = filtering_funnel[~filtering_funnel["stage"].isin(SPLITS)]
    taken = {"malformed": account.quarantined, "without preference": account.without_preference}
    taken |= {
        str(stage): int(dropped)
        for stage, dropped in stages.groupby("stage", sort=False)["dropped"].sum().items()
    }
    taken["objective"] = account.dropped_by_objective
    left, steps = account.read, [("read", account.read)]
    for step, rows in taken.items():
        if rows:
            left -= rows
            steps.append((step, left))
    return steps

"""What a store holds and how often it had what was asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bdpo_pipeline.cache.database import connected
from bdpo_pipeline.cache.rows import SELECT, Lookup, Model, whole_lookup, whole_model


@dataclass(frozen=True)
class ModelRows:
    """The rows of one model; ``model`` is None for rows that were written before rows knew theirs. Times: seconds since 1970."""

    model: Model | None
    rows: int
    first_computed_at: int
    last_computed_at: int
    last_used_at: int


@dataclass(frozen=True)
class Pass:
    """One pass over pairs: what it asked the store for."""

    lookup: Lookup
    model: Model | None


@dataclass(frozen=True)
class Summary:
    """A store as a whole.

    Attributes:
        bytes_on_disk: of the file and its write-ahead log.
        models: rows by model, those used last first.
        passes: in order of time.
    """

    bytes_on_disk: int
    models: list[ModelRows]
    passes: list[Pass]

    @property
    def rows(self) -> int:
        """Number of log-probs."""
        return sum(model.rows for model in self.models)


def hit_rate(passes: Sequence[Pass]) -> float | None:
    """Return the share of what was asked for that was there; None if nothing was asked for."""
    requested = sum(one.lookup.requested for one in passes)
    return sum(one.lookup.found for one in passes) / requested if requested else None


def summarise(path: Path) -> Summary:
    """Return what the store at ``path`` holds.

    Raises:
        DamagedStoreError: the file is not what sqlite wrote.
    """
    with connected(path) as connection:
        models = dict(
            found for stored in connection.execute(SELECT["models"]) if (found := whole_model(stored))
        )
        counts = connection.execute(
            "SELECT model, COUNT(*), MIN(computed_at), MAX(computed_at), MAX(used_at) FROM logps GROUP BY model "
            "ORDER BY MAX(used_at) DESC"
        )
        rows = [ModelRows(models.get(number), *values) for number, *values in counts]
        lookups = [
            lookup
            for stored in connection.execute(f"{SELECT['lookups']} ORDER BY at, rowid")
            if (lookup := whole_lookup(stored))
        ]
    return Summary(bytes_on_disk(path), rows, [Pass(lookup, models.get(lookup.model)) for lookup in lookups])


def bytes_on_disk(path: Path) -> int:
    """Return the bytes of a store's file and of its write-ahead log."""
    return sum(file.stat().st_size for file in (path, path.with_name(f"{path.name}-wal")) if file.exists())

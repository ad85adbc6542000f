"""Pairs to training, validation, held-out and dropped pairs, in two passes over the file."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bdpo_pipeline.filters.features import ROWS_READ, FeatureReader, PairFeatures
from bdpo_pipeline.filters.funnel import Funnel
from bdpo_pipeline.filters.parameters import FilteringParameters
from bdpo_pipeline.filters.splits import SPLIT_NAMES
from bdpo_pipeline.filters.stages import select
from bdpo_pipeline.filters.unsafe_chosen import apply_unsafe_policy
from bdpo_pipeline.io.schemas import get_schema
from bdpo_pipeline.io.tables import StoredTable, TableWriter
from bdpo_pipeline.seeds import derive_seed

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase


class NothingLeftError(ValueError):
    """The filters leave no training pair; the message shows the funnel."""


@dataclass(frozen=True)
class Selection:
    """The three splits, the dropped pairs, and the lines of the funnel."""

    train: StoredTable
    validation: StoredTable
    heldout: StoredTable
    dropped: StoredTable
    funnel: list[dict[str, Any]]


def select_pairs(
    pairs: StoredTable,
    evaluation_prompts: StoredTable,
    tokenizer: "PreTrainedTokenizerBase",
    parameters: FilteringParameters,
    seed: int,
) -> Selection:
    """Filter and split canonical pairs; memory grows by some 320 bytes a pair, whatever the length of its texts.

    Args:
        pairs: canonical rows (docs/artifacts.md).
        evaluation_prompts: every prompt that the model will be asked.
        tokenizer: of the base model; lengths are counted with it.
        parameters: of all stages.
        seed: the project's seed.

    Raises:
        NothingLeftError: no training pair is left.
    """
    reader = FeatureReader(
        tokenizer, evaluation_prompts, parameters, derive_seed(seed, "filtering.near_duplicates")
    )
    features = reader.read(pairs)
    split, funnel = select(features, reader.hits, parameters, seed)
    kept = funnel.rows_in()
    if not (split[kept] == SPLIT_NAMES.index("train")).any():
        raise NothingLeftError(
            "no training pair is left after filtering; loosen the stage that drops most:\n"
            + "\n".join(
                f"  {line['stage']}: {line['rows_in']} -> {line['rows_out']} {line['reason']}"
                for line in funnel.report()
            )
        )
    tables = _write(pairs, features, reader.hits, split, funnel, parameters)
    return Selection(**tables, funnel=funnel.report())


def _write(
    pairs: StoredTable,
    features: PairFeatures,
    hits: list[tuple[str, str]],
    split: "NDArray[np.int8]",
    funnel: Funnel,
    parameters: FilteringParameters,
) -> dict[str, StoredTable]:
    from contextlib import ExitStack

    import numpy as np

    kept = np.zeros(len(split), dtype=bool)
    kept[funnel.rows_in()] = True
    with ExitStack() as stack:
        writers = {name: stack.enter_context(TableWriter(get_schema("pairs"))) for name in SPLIT_NAMES}
        dropped = stack.enter_context(TableWriter(get_schema("dropped_pairs")))
        start = 0
        for batch in pairs.batches(batch_size=ROWS_READ):
            here = slice(start, start + batch.num_rows)
            for number, name in enumerate(SPLIT_NAMES):
                chosen = np.flatnonzero(kept[here] & (split[here] == number))
                if len(chosen):
                    writers[name].append_batch(_as_used(batch.take(chosen), name, parameters))
            _write_dropped(dropped, batch, start, np.flatnonzero(~kept[here]), features, hits, funnel)
            start += batch.num_rows
        return {name: writer.finish() for name, writer in writers.items()} | {"dropped": dropped.finish()}


def _as_used(batch: "pa.RecordBatch", split: str, parameters: FilteringParameters) -> "pa.RecordBatch":
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = get_schema("pairs")
    if parameters.unsafe_chosen == "swap" and pc.any(pc.equal(batch["chosen_is_safe"], False)).as_py():
        rows = [apply_unsafe_policy(row, parameters.unsafe_chosen) for row in batch.to_pylist()]
        batch = pa.RecordBatch.from_pylist(rows, schema=schema)
    columns = [batch[name] for name in schema.names if name != "split"]
    return pa.record_batch([*columns, pa.array([split] * batch.num_rows, pa.string())], schema=schema)


def _write_dropped(
    writer: TableWriter,
    batch: "pa.RecordBatch",
    start: int,
    places: "NDArray[np.int64]",
    features: PairFeatures,
    hits: list[tuple[str, str]],
    funnel: Funnel,
) -> None:
    names = batch.select(["pair_id", "source", "source_row"]).take(places).to_pylist()
    for place, row in zip(places, names, strict=True):
        stage, reason = funnel.cause(start + place)
        detail = None
        other = funnel.detail_row(start + place)
        if other is not None:
            first, second = features.pair_id[other]
            detail = f"{first:016x}{second:016x}"
        elif stage == "contamination":
            detail = hits[features.contamination[start + place] - 1][0]
        writer.append({**row, "stage": stage, "reason": reason, "detail": detail})

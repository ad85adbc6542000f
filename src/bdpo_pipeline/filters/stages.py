"""The filters in order, on features alone.

What judges a row by itself comes first (unsafe chosen response, length, contamination), what compares rows comes after, so that a row
that is not used anyway never pushes out one that could be. Splitting and cutting down come last.
"""

from typing import TYPE_CHECKING

from bdpo_pipeline.filters.duplicates import find_contradictions, find_first_copy
from bdpo_pipeline.filters.features import PairFeatures
from bdpo_pipeline.filters.funnel import Funnel
from bdpo_pipeline.filters.hashing import mix, to_unit
from bdpo_pipeline.filters.lengths import LENGTH_REASONS, check_lengths
from bdpo_pipeline.filters.near_duplicates import find_better_neighbour
from bdpo_pipeline.filters.parameters import FilteringParameters, SplitSize
from bdpo_pipeline.filters.sampling import balance, classify_queries, count_before, subsample
from bdpo_pipeline.filters.splits import HELDOUT, SPLIT_NAMES, TRAIN, assign_splits
from bdpo_pipeline.seeds import derive_seed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def select(
    features: PairFeatures, hits: list[tuple[str, str]], parameters: FilteringParameters, seed: int
) -> tuple["NDArray[np.int8]", Funnel]:
    """Decide on every row.

    Args:
        features: of all pairs.
        hits: what ``features.contamination`` numbers: (evaluation prompt id, reason).
        parameters: of all stages.
        seed: the project's seed; splitting and sampling derive their own.

    Returns:
        The split of every row, an index into ``SPLIT_NAMES`` (of dropped rows too), and the funnel that says which are in.
    """
    split = assign_splits(
        features.prompt_key, features.declared, parameters.split, derive_seed(seed, "filtering.split")
    )
    rank = mix(features.pair_key, derive_seed(seed, "filtering.sample"))
    funnel = Funnel(len(split))
    _judge_rows(funnel, features, split, hits, parameters)
    _leave_to_judges(funnel, features, split, parameters, derive_seed(seed, "filtering.judges"))
    _compare_rows(funnel, features, split, rank, parameters)
    _keep_splits_apart(funnel, features, split, parameters)
    sizes = {"train": parameters.train, "validation": parameters.validation, "heldout": parameters.heldout}
    before = funnel.rows_in()
    for number in reversed(range(len(SPLIT_NAMES))):
        name = SPLIT_NAMES[number]
        _cut_down(funnel, features, before[split[before] == number], rank, name, sizes[name])
    after = funnel.rows_in()
    for number in reversed(range(len(SPLIT_NAMES))):
        rows_before, rows_after = (int((split[rows] == number).sum()) for rows in (before, after))
        funnel.finish_split(SPLIT_NAMES[number], rows_before, rows_after)
    return split, funnel


def _judge_rows(
    funnel: Funnel,
    features: PairFeatures,
    split: "NDArray[np.int8]",
    hits: list[tuple[str, str]],
    parameters: FilteringParameters,
) -> None:
    import numpy as np

    rows = funnel.rows_in()
    funnel.drop(
        "unsafe_chosen", rows, features.unusable[rows].astype(int), ["chosen response labelled unsafe"]
    )
    rows = funnel.rows_in()
    lengths = check_lengths(features.tokens[rows], features.token_state[rows], parameters.length)
    funnel.drop("length", rows, lengths, LENGTH_REASONS)
    rows = funnel.rows_in()
    reasons = sorted({reason for _, reason in hits})
    reason_of_hit = np.array([0, *(1 + reasons.index(reason) for _, reason in hits)])
    # Nothing is trained on held-out pairs, so they may be asked, too.
    hit = np.where(split[rows] == HELDOUT, 0, features.contamination[rows])
    funnel.drop("contamination", rows, reason_of_hit[hit], reasons)


def _leave_to_judges(
    funnel: Funnel,
    features: PairFeatures,
    split: "NDArray[np.int8]",
    parameters: FilteringParameters,
    seed: int,
) -> None:
    rows = funnel.rows_in()
    left = (split[rows] != HELDOUT) & (
        to_unit(features.prompt_key[rows], seed) < parameters.split.judges_share
    )
    funnel.drop("judges", rows, left.astype(int), ["prompt left to the training of judges"])


def _compare_rows(
    funnel: Funnel,
    features: PairFeatures,
    split: "NDArray[np.int8]",
    rank: "NDArray[np.uint64]",
    parameters: FilteringParameters,
) -> None:
    rows = funnel.rows_in()
    first = rows[find_first_copy(features.pair_key[rows], _priority(features, split, rank, rows))]
    funnel.drop("exact_duplicates", rows, (first != rows).astype(int), ["same pair"], first)
    rows = funnel.rows_in()
    contradicted = find_contradictions(features.pair_key[rows], features.unordered_key[rows])
    funnel.drop("contradictions", rows, contradicted.astype(int), ["same pair in both orders"])
    rows = funnel.rows_in()
    better = find_better_neighbour(
        features.pair_signature,
        rows,
        _priority(features, split, rank, rows),
        parameters.near_duplicates.threshold,
    )
    funnel.drop("near_duplicates", rows, (better >= 0).astype(int), ["nearly the same pair"], better)


def _priority(
    features: PairFeatures, split: "NDArray[np.int8]", rank: "NDArray[np.uint64]", rows: "NDArray[np.int64]"
) -> "NDArray[np.int64]":
    """Return unique numbers, the lowest for the copy to keep: held-out before training, labelled before not, then by hash.

    Of copies that are labelled differently, the one that calls more responses unsafe; so it is not for the order of rows to say.
    """
    import numpy as np

    labels = (features.chosen_is_safe[rows], features.rejected_is_safe[rows])
    unlabelled = (labels[0] < 0).astype(int) + (labels[1] < 0)
    called_safe = (labels[0] > 0).astype(int) + (labels[1] > 0)
    order = np.lexsort((features.row_key[rows], *labels, called_safe, rank[rows], unlabelled, split[rows]))
    priority = np.empty(len(rows), dtype=np.int64)
    priority[order] = np.arange(len(rows))
    return priority


def _keep_splits_apart(
    funnel: Funnel, features: PairFeatures, split: "NDArray[np.int8]", parameters: FilteringParameters
) -> None:
    import numpy as np

    rows = funnel.rows_in()
    _, one_of, prompt = np.unique(features.prompt_key[rows], return_index=True, return_inverse=True)
    one_of = rows[one_of]
    level = split[one_of].astype(np.int64)
    better = find_better_neighbour(features.prompt_signature, one_of, level, parameters.prompt_leak.threshold)
    codes = np.where(better >= 0, 1 + split[better].astype(np.int64), 0)
    reasons = [f"prompt nearly the same as a {name} prompt" for name in SPLIT_NAMES[:TRAIN]]
    funnel.drop("prompt_leak", rows, codes[prompt], reasons, better[prompt])


def _cut_down(
    funnel: Funnel,
    features: PairFeatures,
    rows: "NDArray[np.int64]",
    rank: "NDArray[np.uint64]",
    name: str,
    size: SplitSize,
) -> None:
    import numpy as np

    if size.max_pairs_per_prompt is not None:
        spare = count_before(features.prompt_key[rows], rank[rows]) >= size.max_pairs_per_prompt
    else:
        spare = np.zeros(len(rows), dtype=bool)
    funnel.drop(f"{name}: pairs per prompt", rows, spare.astype(int), ["enough pairs of the same prompt"])
    for stage, reason in (("balance", "too many of its class of query"), ("size", "enough pairs")):
        rows = rows[~spare]
        query_class = classify_queries(features.chosen_is_safe[rows], features.rejected_is_safe[rows])
        if stage == "balance":
            spare = ~balance(query_class, rank[rows], size.unsafe_query_share)
        else:
            spare = ~subsample(query_class, rank[rows], size.max_pairs, size.unsafe_query_share)
        funnel.drop(f"{name}: {stage}", rows, spare.astype(int), [reason])

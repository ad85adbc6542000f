"""The paper's first analysis: is an arm wrong more often on held-out pairs whose responses are comprehended unequally?"""

from typing import TYPE_CHECKING

from bdpo_pipeline.seeds import derive_seed
from bdpo_pipeline.statistics import rank_correlation, resample, summarise

from .measures import ALL_PAIRS, ONE_SAFE, heldout_measures

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "pairs",
    "arm",
    "bin",
    "imbalance_from",
    "imbalance_to",
    "bin_pairs",
    "bin_prompts",
    "seeds",
    "error",
    "error_low",
    "error_high",
    "correlation",
    "correlation_low",
    "correlation_high",
    "correlation_p",
    "without_imbalance",
)


def measure_imbalance(scores: "pd.DataFrame", *, bins: int, seed: int, resamples: int) -> "pd.DataFrame":
    """Return `study_imbalance` (docs/artifacts.md): the held-out error by quantile of absolute imbalance, for each arm.

    The error is the share of pairs whose chosen response does not have the higher reward, over pairs and seeds. The rank correlation,
    of error with absolute imbalance over single pairs, is the same in all rows of an arm. Intervals are for new prompts to these very
    models.

    Args:
        scores: `study_scores`; pairs without an imbalance are counted and left out.
        bins: number of quantile bins; fewer where there are fewer pairs.
        seed: the project's seed.
        resamples: number of bootstrap resamples.
    """
    import numpy as np
    import pandas as pd

    heldout = scores[scores["split"] == "heldout"]
    known = heldout[heldout["imbalance"].notna()]
    sizes = known.drop_duplicates("pair_id").set_index("pair_id")["imbalance"].abs()
    without = heldout[heldout["imbalance"].isna()].drop_duplicates("pair_id")
    not_counted = {
        ALL_PAIRS: len(without),
        ONE_SAFE: int(without["one_safe"].fillna(False).astype(bool).sum()),
    }
    rows = []
    for measure in heldout_measures(known):
        if not measure.tables:
            continue
        imbalance = sizes[list(measure.tables[next(iter(measure.tables))].index)]
        number = min(bins, len(imbalance))
        # By rank, so that equal imbalances do not make bins of unequal size.
        places = np.asarray(imbalance.rank(method="first") - 1, dtype=int) * number // len(imbalance)
        prompts = np.asarray(measure.prompts, dtype=object)
        for arm, table in measure.tables.items():
            errors = 1 - table.to_numpy().mean(axis=1)
            stream = derive_seed(seed, f"{measure.stream}.imbalance")
            correlation = rank_correlation(
                imbalance.to_numpy(), errors, list(prompts), seed=stream, resamples=resamples
            )
            for place in range(number):
                inside = places == place
                (drawn,) = resample(
                    [errors[inside][:, None]], list(prompts[inside]), seed=stream, resamples=resamples
                )
                part = imbalance[inside]
                values = (
                    *(measure.on, arm, place + 1, part.min(), part.max(), int(inside.sum())),
                    *(len(set(prompts[inside])), table.shape[1]),
                    *summarise([drawn], bounds=(0.0, 1.0))[:3],
                    *correlation,
                    not_counted[measure.on],
                )
                rows.append(dict(zip(COLUMNS, values, strict=True)))
    return pd.DataFrame(rows, columns=list(COLUMNS))

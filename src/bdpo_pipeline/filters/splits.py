"""Which split a prompt belongs to."""

from typing import TYPE_CHECKING

from bdpo_pipeline.filters.hashing import to_unit
from bdpo_pipeline.filters.parameters import SplitShares

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# In order of precedence where near duplicates stand in two splits: held-out data is not given up for training data.
HELDOUT, VALIDATION, TRAIN = 0, 1, 2
SPLIT_NAMES = ("heldout", "validation", "train")
# What a source declares for its rows; a higher number wins within a prompt.
DECLARED = {None: 0, "train": 1, "heldout": 2}


def assign_splits(
    prompt_keys: "NDArray[np.uint64]", declared: "NDArray[np.int8]", shares: SplitShares, seed: int
) -> "NDArray[np.int8]":
    """Return the split of each row, the same for all rows of a prompt.

    A prompt is held out where any of its rows is declared so; else a hash of seed and prompt decides, and a prompt with rows declared
    train is never held out. So a new row never moves another prompt.

    Args:
        prompt_keys: key of the prompt of each row, shape (n,).
        declared: values of ``DECLARED``, shape (n,).
        shares: of prompts.
        seed: of the hash.
    """
    import numpy as np

    distinct, prompt = np.unique(prompt_keys, return_inverse=True)
    declaration = np.zeros(len(distinct), dtype=np.int8)
    np.maximum.at(declaration, prompt, declared)
    place = to_unit(distinct, seed)
    split = np.full(len(distinct), TRAIN, dtype=np.int8)
    split[(place >= shares.heldout_share) & (place < shares.heldout_share + shares.validation_share)] = (
        VALIDATION
    )
    split[(place < shares.heldout_share) & (declaration == DECLARED[None])] = HELDOUT
    split[declaration == DECLARED["heldout"]] = HELDOUT
    return split[prompt]

"""One synthetic study for all tests that look at what is concluded from it."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from ..study_tables import make_ability, make_judgements, make_scores

ARMS = {"base": 0.0, "dpo": 0.5, "bdpo": 2.5, "simpo": 0.5}
REWARDS = {"dpo": "log_ratio", "bdpo": "log_ratio", "simpo": "mean_logp"}


class Tables(NamedTuple):
    """The tables that comparisons start from."""

    judgements: pd.DataFrame
    ability: pd.DataFrame
    scores: pd.DataFrame


@pytest.fixture(scope="session")
def study() -> Tables:
    """A study in which ``bdpo`` is far safer than ``dpo``, and overfits most; nothing else differs but by chance."""
    rng = np.random.default_rng(12)
    gaps = {"dpo": 0.1, "bdpo": 0.28, "simpo": 0.1}
    return Tables(
        make_judgements(rng, ARMS, seeds=3),
        make_ability(rng, dict.fromkeys(ARMS, 0.0), seeds=3),
        make_scores(rng, gaps, seeds=3, pairs=200, slope=0.5),
    )

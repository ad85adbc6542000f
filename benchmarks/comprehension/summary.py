"""What the estimators say of the same pairs: figures for the table and the plot."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from measure import Measured

from bdpo_pipeline.objectives.weighting import Weighting
from bdpo_pipeline.reference.comprehension import compute_comprehension

# A response counts as saturated above this share of the bound.
NEAR = 0.95


@dataclass(frozen=True)
class Summary:
    """Per token unless said otherwise, in nats; ``passes`` over both responses of each pair, beside the conditional one.

    Attributes:
        information: I of the chosen, then of the rejected responses, ``[2 x pairs]``.
        share: p_w by the default weighting, ``[pairs]``.
        floored: share of responses below the floor.
        whole: I of whole responses, ``[2 x pairs]``.
        bound: of I of a whole response; None where there is none.
        cost: ``forward_passes`` and ``seconds``; None where log-probs were kept of which the cost was not.
    """

    information: np.ndarray
    share: np.ndarray
    floored: float
    whole: np.ndarray
    bound: float | None
    passes: int
    cost: dict[str, float] | None

    @property
    def saturated(self) -> float | None:
        """Share of responses near the bound."""
        return None if self.bound is None else float((self.whole > NEAR * self.bound).mean())


def summarise(measured: dict[str, Measured]) -> dict[str, Summary]:
    """Return the summary of each estimator, and of the conditional pass what it cost."""
    return {name: _summarise(name, measured) for name, one in measured.items() if one.marginal}


def lengths(logps: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of each response, ``[2 x pairs]``, and n_l / n_w, ``[pairs]``."""
    chosen, rejected = logps["chosen_tokens"].to_numpy(), logps["rejected_tokens"].to_numpy()
    return np.concatenate([chosen, rejected]), rejected / chosen


def cost_of(name: str, measured: dict[str, Measured]) -> dict[str, float] | None:
    """Return what an estimator costs by itself: that of few queries is a part of that of many."""
    one = measured[name]
    parts = [m.cost for m in measured.values() if 0 < m.queries <= one.queries] or [one.cost]
    if sum(part["computed"] for part in parts) < one.cost["requested"]:
        return None
    return {count: sum(part[count] for part in parts) for count in ("forward_passes", "seconds")}


def _summarise(name: str, measured: dict[str, Measured]) -> Summary:
    weighting, logps = Weighting(), measured[name].logps
    table, _ = compute_comprehension(logps, weighting, normalise="token", control="none", seed=0)
    whole, _ = compute_comprehension(logps, weighting, normalise="none", control="none", seed=0)
    information, queries = _both(table), measured[name].queries
    return Summary(
        information,
        table["chosen_share"].to_numpy(),
        float((information < weighting.floor).mean()),
        _both(whole),
        float(np.log(queries + 1)) if queries else None,
        max(1, queries),
        cost_of(name, measured),
    )


def _both(table: pd.DataFrame) -> np.ndarray:
    return np.concatenate([table["chosen_mi"], table["rejected_mi"]])

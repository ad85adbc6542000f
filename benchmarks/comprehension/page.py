"""The tables of estimators as a Markdown page."""

from collections.abc import Mapping, Sequence

import numpy as np
from known import Known
from measure import Measured, Setup
from scipy.stats import spearmanr
from summary import NEAR, Summary, cost_of, lengths

_EXPLANATION = """
I is the pointwise mutual information of a response with its query; per token unless said otherwise, in nats. p_w is the share of
the chosen response by the default weighting (inverse, floor 0.01, clip 0.1 to 0.9). Correlations are Spearman's, n is the number
of response tokens, w the chosen and l the rejected response. The K other queries of `contrastive` are drawn from the prompts of
these pairs.
"""
_COST = """
A pass scores one response of a pair in one context; the first row is what every estimator needs besides its own. Seconds include
the start of a worker process (one for each row; for `contrastive` one more for each smaller K above it) and whatever else the
machine did meanwhile; forward passes are of the same size whatever it did.
"""


def write_page(
    command: str, setup: Setup, measured: dict[str, Measured], summaries: dict[str, Summary], known: Known
) -> str:
    """Return the page."""
    tokens, ratio = lengths(measured["conditional"].logps)
    name, compute = setup.base_model["name"], setup.compute
    parts = [
        "# Estimators of comprehension, measured",
        f"Made by `{command}`: {len(setup.pairs)} training pairs of the default selection with exactly one safe response "
        f"(mean {tokens.mean():.0f} response tokens), model {name}, {compute.dtype}, batches of {compute.tokens_per_batch} places.",
        _EXPLANATION.strip(),
        "## What they say",
        _values(summaries, tokens, ratio),
        f"Floored: responses with I below the floor. Saturated: whole responses with I above {NEAR:.0%} of the bound log(K + 1).",
        "## Rank correlation of I with each other",
        "Over all responses; 1 / n is what I per token would be if every whole response had the same.",
        _correlations({**{n: s.information for n, s in summaries.items()}, "1 / n": 1 / tokens}),
        "## Rank correlation of p_w with each other",
        "Over pairs; n_w / n_l in place of a share is what weighting by 1 / n ranks by.",
        _correlations({**{n: s.share for n, s in summaries.items()}, "n_w / n_l": 1 / ratio}),
        "## What they cost",
        _COST.strip(),
        _costs(measured, summaries),
        "## Where the truth is known",
        f"A random model with nine tokens, eight equally likely queries and all its 585 responses: its exact mutual information is "
        f"{known.exact:.4f} nats per response. Mean over the model's own responses, for `contrastive` over all choices of K others:",
        _known(known),
    ]
    return "\n\n".join(parts) + "\n"


def _values(summaries: dict[str, Summary], tokens: np.ndarray, ratio: np.ndarray) -> str:
    header = [
        "estimator", "mean I_w (sd)", "mean I_l (sd)", "I < 0", "floored", "I with n", "p_w mean (sd)", "p_w with n_l / n_w",
        "mean I, whole response", "saturated",
    ]  # fmt: skip
    rows = [
        [
            name,
            *(f"{side.mean():.3f} ({side.std():.3f})" for side in np.split(s.information, 2)),
            f"{(s.information < 0).mean():.1%}",
            f"{s.floored:.1%}",
            _rank_correlation(s.information, tokens),
            f"{s.share.mean():.2f} ({s.share.std():.2f})",
            _rank_correlation(s.share, ratio),
            f"{s.whole.mean():.2f}" + (f" of at most {s.bound:.2f}" if s.bound else ""),
            "" if s.saturated is None else f"{s.saturated:.1%}",
        ]
        for name, s in summaries.items()
    ]
    return _table(header, rows)


def _correlations(columns: Mapping[str, np.ndarray]) -> str:
    rows = [[name, *(_rank_correlation(a, b) for b in columns.values())] for name, a in columns.items()]
    return _table(["", *columns], rows)


def _costs(measured: dict[str, Measured], summaries: dict[str, Summary]) -> str:
    base = cost_of("conditional", measured)
    rows = []
    for name in measured:
        cost, passes = cost_of(name, measured), summaries[name].passes if name in summaries else 1
        figures = ["not measured: some log-probs were there before", ""]
        if cost is not None:
            figures = [
                _against(cost[count], base[count] if base else None)
                for count in ("forward_passes", "seconds")
            ]
        rows.append([name, f"{2 * passes}", *figures])
    header = [
        "estimator", "response passes a pair", "forward passes (conditional = 1)", "seconds (conditional = 1)"
    ]  # fmt: skip
    return _table(header, rows)


def _against(value: float, base: float | None) -> str:
    return f"{value:.0f}" + (f" ({value / base:.2f})" if base else "")


def _known(known: Known) -> str:
    contrastive = {f"contrastive, K = {k}": mean for k, (mean, _, _) in known.contrastive.items()}
    rows = [
        [name, f"{value:.4f}", f"{value - known.exact:+.4f}"]
        for name, value in {**known.single, **contrastive}.items()
    ]
    return _table(["estimator", "mean I, whole response", "off by"], rows)


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> str:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return "constant"
    return f"{spearmanr(first, second).statistic:.2f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

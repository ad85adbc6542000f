"""Plots of comprehension: how well the reference model understands each response of a pair (METHOD: reconstructed)."""

from typing import TYPE_CHECKING

from bdpo_pipeline.seeds import derive_seed
from bdpo_pipeline.tables import DataFrame

from .formatting import number, percent
from .plots import ADAPTER, CHOSEN, REJECTED, Plot, histogram, make_figure, sentence_figure, vertical_line

if TYPE_CHECKING:
    import plotly.graph_objects as go

_POINTS = 1500
_NAMES = ("comprehension_by_side", "comprehension_imbalance", "comprehension_and_length", "chosen_share")


def comprehension_plots(
    comprehension: DataFrame, reference_logps: DataFrame, *, normalise: str, seed: int
) -> dict[str, Plot]:
    """Return the plots of comprehension by name, over the training pairs as in the diagnostics.

    Args:
        comprehension: `comprehension` as in docs/artifacts.md.
        reference_logps: `reference_logps` as in docs/artifacts.md, for the lengths in tokens.
        normalise: what comprehension is counted in, ``token`` (nats per token) or ``none`` (nats a response).
        seed: the project's seed; draws the points of the scatter plot where there are many pairs.

    Returns:
        ``comprehension_by_side``, ``comprehension_imbalance``, ``comprehension_and_length``, ``chosen_share``, as far as the run
        has what they show; see `missing_comprehension`.
    """
    train, unit = comprehension[comprehension["split"] == "train"], comprehension_unit(normalise)
    plots, measured = [], train["chosen_mi"].notna().any()
    if measured:
        stream = derive_seed(seed, "reports.comprehension_and_length")
        plots += [_by_side(train, unit), _imbalance(train, unit)]
        plots.append(_against_length(train, reference_logps, unit, stream))
    if measured or not _all_coefficients_are_one(train):
        plots.append(_share(train))
    return {plot.name: plot for plot in plots}


def comprehension_figures(
    comprehension: DataFrame, reference_logps: DataFrame, *, objective: str, normalise: str, seed: int
) -> tuple["go.Figure", ...]:
    """Return a figure for each of the four plots; one that has nothing to show says why.

    Args: as `comprehension_plots`, with the name of the objective.
    """
    plots = comprehension_plots(comprehension, reference_logps, normalise=normalise, seed=seed)
    reason = missing_comprehension(comprehension, objective) or ""
    return tuple(plots[name].figure if name in plots else sentence_figure(reason) for name in _NAMES)


def missing_comprehension(comprehension: DataFrame, objective: str) -> str | None:
    """Return why a run has no comprehension, in a sentence; None where it has."""
    if comprehension.empty:
        return f"The objective {objective} takes no coefficients, so comprehension was not estimated."
    if comprehension["chosen_mi"].notna().any():
        return None
    if _all_coefficients_are_one(comprehension):
        return f"All coefficients of {objective} are 1 here, as in DPO (comprehension.setting), so comprehension was not estimated."
    return (
        f"The coefficients of {objective} come from the lengths of the responses here, in place of comprehension "
        "(comprehension.control), so it was not estimated."
    )


def comprehension_unit(normalise: str) -> str:
    """Return the unit of comprehension."""
    return "nats per token" if normalise == "token" else "nats a response"


def _all_coefficients_are_one(comprehension: DataFrame) -> bool:
    return bool((comprehension[["chosen_coefficient", "rejected_coefficient"]] == 1).all(axis=None))


def _by_side(comprehension: DataFrame, unit: str) -> Plot:
    chosen, rejected = comprehension["chosen_mi"], comprehension["rejected_mi"]
    return Plot(
        name="comprehension_by_side",
        title="Comprehension of each response",
        explanation="Mutual information between the prompt and a response: how much more likely the prompt makes the "
        "response. Below zero, the prompt makes it less likely.",
        summary=f"Mean {number(chosen.mean())} {unit} for chosen responses (standard deviation "
        f"{number(chosen.std())}), {number(rejected.mean())} for rejected ones ({number(rejected.std())}).",
        figure=make_figure(
            histogram({"chosen": (chosen, CHOSEN), "rejected": (rejected, REJECTED)}, unit),
            f"comprehension ({unit})",
            "pairs",
            barmode="overlay",
        ),
    )


def _imbalance(comprehension: DataFrame, unit: str) -> Plot:
    imbalance = comprehension["imbalance"]
    return Plot(
        name="comprehension_imbalance",
        title="Imbalance within a pair",
        explanation="Comprehension of the chosen minus that of the rejected response. Right of zero the model "
        "understands the chosen response better, and B-DPO weighs it less.",
        summary=f"Mean {number(imbalance.mean())} {unit}, standard deviation {number(imbalance.std())}; "
        f"positive in {percent((imbalance > 0).mean())} of pairs.",
        figure=make_figure(
            histogram({"imbalance": (imbalance, ADAPTER)}, unit),
            f"chosen minus rejected ({unit})",
            "pairs",
            showlegend=False,
            **vertical_line(0, " balanced"),
        ),
    )


def _against_length(comprehension: DataFrame, reference_logps: DataFrame, unit: str, seed: int) -> Plot:
    import plotly.graph_objects as go

    lengths = reference_logps[["pair_id", "chosen_tokens", "rejected_tokens"]]
    joined = comprehension.merge(lengths, on="pair_id", validate="one_to_one")
    shown = joined.sample(n=min(_POINTS, len(joined)), random_state=seed)
    traces = [
        go.Scatter(
            x=shown[f"{side}_tokens"].tolist(),
            y=shown[f"{side}_mi"].round(4).tolist(),
            mode="markers",
            name=side,
            marker={"color": colour, "size": 5, "opacity": 0.7, "symbol": symbol},
            hovertemplate=f"%{{x}} tokens, %{{y:.3f}} {unit}<extra>{side}</extra>",
        )
        for side, colour, symbol in (("chosen", CHOSEN, "circle"), ("rejected", REJECTED, "diamond-open"))
    ]
    ranks = {
        side: joined[f"{side}_mi"].corr(joined[f"{side}_tokens"], method="spearman")
        for side in ("chosen", "rejected")
    }
    drawn = f"; {len(shown):,} of {len(joined):,} pairs drawn at random" if len(shown) < len(joined) else ""
    return Plot(
        name="comprehension_and_length",
        title="Comprehension against length",
        explanation="Where comprehension goes with length, the imbalance within a pair is in part the difference of the two "
        f"lengths{drawn}.",
        summary=f"Rank correlation of comprehension with length: {number(ranks['chosen'])} for chosen responses, "
        f"{number(ranks['rejected'])} for rejected ones.",
        figure=make_figure(traces, "response length (tokens, logarithmic)", unit, xaxis_type="log"),
    )


def _share(comprehension: DataFrame) -> Plot:
    share = comprehension["chosen_share"]
    equal = (comprehension["chosen_coefficient"] == comprehension["rejected_coefficient"]).all()
    unused = " In this run both responses of a pair get the same coefficient, so the share is not acted upon."
    return Plot(
        name="chosen_share",
        title="Balanced weight of the chosen response",
        explanation="The share p of a pair's weight that its chosen response gets; the rejected response gets 1 \u2212 p. "
        f"At one half the pair is trained as in plain DPO.{unused if equal else ''}",
        summary=f"Mean {number(share.mean())}, standard deviation {number(share.std())}, from {number(share.min())} to "
        f"{number(share.max())}; {percent(comprehension['clipped'].mean())} of pairs clipped, "
        f"{percent(comprehension['floored'].mean())} floored.",
        figure=make_figure(
            histogram({"share": (share, ADAPTER)}, "share"),
            "weight share of the chosen response",
            "pairs",
            showlegend=False,
            **vertical_line(0.5, " as in DPO"),
        ),
    )

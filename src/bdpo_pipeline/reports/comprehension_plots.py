"""Plots of comprehension: how well the reference model understands each response of a pair (METHOD: reconstructed)."""

from bdpo_pipeline.seeds import derive_seed
from bdpo_pipeline.tables import DataFrame

from .formatting import number, percent
from .plots import ADAPTER, CHOSEN, REJECTED, Plot, histogram, make_figure, vertical_line

_POINTS = 1500


def comprehension_plots(
    comprehension: DataFrame, reference_logps: DataFrame, seed: int = 0
) -> dict[str, Plot]:
    """Return the plots of comprehension by name, over the training pairs as in the diagnostics.

    Args:
        comprehension: `comprehension` as in docs/artifacts.md; MI in nats per token.
        reference_logps: `reference_logps` as in docs/artifacts.md, for the lengths in tokens.
        seed: the project's seed; draws the points of the scatter plot where there are many pairs.

    Returns:
        ``comprehension_by_side``, ``comprehension_imbalance``, ``comprehension_and_length``, ``chosen_share``.
    """
    comprehension = comprehension[comprehension["split"] == "train"]
    plots = [
        _by_side(comprehension),
        _imbalance(comprehension),
        _against_length(
            comprehension, reference_logps, derive_seed(seed, "reports.comprehension_and_length")
        ),
        _share(comprehension),
    ]
    return {plot.name: plot for plot in plots}


def _by_side(comprehension: DataFrame) -> Plot:
    chosen, rejected = comprehension["chosen_mi"], comprehension["rejected_mi"]
    return Plot(
        name="comprehension_by_side",
        title="Comprehension of each response",
        explanation="Mutual information between the prompt and a response, per token: how much more likely the prompt "
        "makes the response. Below zero, the prompt makes the response less likely.",
        summary=f"Mean {number(chosen.mean())} nats per token for chosen responses (standard deviation "
        f"{number(chosen.std())}), {number(rejected.mean())} for rejected ones ({number(rejected.std())}).",
        figure=make_figure(
            histogram({"chosen": (chosen, CHOSEN), "rejected": (rejected, REJECTED)}, "nats per token"),
            "comprehension (nats per token)",
            "pairs",
            barmode="overlay",
        ),
    )


def _imbalance(comprehension: DataFrame) -> Plot:
    imbalance = comprehension["imbalance"]
    return Plot(
        name="comprehension_imbalance",
        title="Imbalance within a pair",
        explanation="Comprehension of the chosen minus that of the rejected response. Right of zero the model "
        "understands the chosen response better, and B-DPO weighs it less.",
        summary=f"Mean {number(imbalance.mean())} nats per token, standard deviation {number(imbalance.std())}; "
        f"positive in {percent((imbalance > 0).mean())} of pairs.",
        figure=make_figure(
            histogram({"imbalance": (imbalance, ADAPTER)}, "nats per token"),
            "chosen minus rejected (nats per token)",
            "pairs",
            showlegend=False,
            **vertical_line(0, " balanced"),
        ),
    )


def _against_length(comprehension: DataFrame, reference_logps: DataFrame, seed: int) -> Plot:
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
            hovertemplate="%{x} tokens, %{y:.3f} nats per token<extra>" + side + "</extra>",
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
        figure=make_figure(
            traces, "response length (tokens, logarithmic)", "nats per token", xaxis_type="log"
        ),
    )


def _share(comprehension: DataFrame) -> Plot:
    share = comprehension["chosen_share"]
    return Plot(
        name="chosen_share",
        title="Balanced weight of the chosen response",
        explanation="The share p of a pair's weight that its chosen response gets; the rejected response gets 1 \u2212 p. "
        "At one half the pair is trained as in plain DPO.",
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

"""Comprehension: how much the query tells the reference model of a response, as pointwise mutual information.

Reconstructed (docs/method.md, section 3): i(x; y) = log pi_ref(y | x) - log pi_ref(y), by default per token of y.
"""

from torch import Tensor

NORMALISATIONS = ("token", "none")


def pointwise_mutual_information(
    conditional: Tensor, marginal: Tensor, tokens: Tensor, *, normalise: str = "token"
) -> Tensor:
    """Return I_k of each response, ``[responses]``, in nats per token (or nats, if not normalised).

    Args:
        conditional: log pi_ref(y | x), summed over the response's tokens, ``[responses]``.
        marginal: log pi_ref(y) of the same tokens, without the query, ``[responses]``.
        tokens: number of those tokens, ``[responses]``.
        normalise: ``token`` or ``none``.

    Raises:
        ValueError: unknown normalisation.
    """
    if normalise not in NORMALISATIONS:
        raise ValueError(f"comprehension.normalise = {normalise!r}: there are {', '.join(NORMALISATIONS)}")
    information = conditional - marginal
    return information / tokens if normalise == "token" else information

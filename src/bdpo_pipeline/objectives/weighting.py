"""From comprehension to coefficients (reconstructed; docs/method.md, section 4).

A coefficient a_k multiplies a response's log-ratio. It is a balanced weight (BW), larger for the response that is comprehended less,
times a scaling factor (SF) per pair. In terms of the share p_w = I_l / (I_w + I_l), p_l = 1 - p_w, and the harmonic mean H of the two I:

========= ========================= =====================================================
setting   a_k                       what it keeps
========= ========================= =====================================================
full      2 p_k                     a_w + a_l = 2 in every pair, as in DPO
bw_only   (2 p_k / H) / mean(1/H)   a_w + a_l = 2 on average over the training pairs
sf_only   H / mean(H)               a_w = a_l, 1 on average over the training pairs
none      1                         DPO
========= ========================= =====================================================
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SETTINGS = ("full", "bw_only", "sf_only", "none")
WEIGHTINGS = ("inverse", "softmax")
SCALES = ("harmonic", "l2")


@dataclass(frozen=True)
class Coefficients:
    """Coefficients of pairs, each of shape ``[pairs]``."""

    chosen: Tensor
    rejected: Tensor
    chosen_share: Tensor
    floored: Tensor
    clipped: Tensor


def compute_coefficients(
    chosen_information: Tensor,
    rejected_information: Tensor,
    training: Tensor,
    *,
    setting: str = "full",
    weighting: str = "inverse",
    scale: str = "harmonic",
    floor: float = 0.01,
    clip: tuple[float, float] = (0.1, 0.9),
) -> Coefficients:
    """Return the coefficients of each pair.

    Args:
        chosen_information: I_w, ``[pairs]``.
        rejected_information: I_l, ``[pairs]``.
        training: bool ``[pairs]``; the data set's constants (tau, the means of H) are taken over these pairs alone, so that
            validation pairs do not shape them.
        setting: see the module's table.
        weighting: ``inverse``, p_w = I_l / (I_w + I_l); or ``softmax``, p_w = sigmoid((I_l - I_w) / tau) with tau the standard
            deviation of I_w - I_l.
        scale: of ``full`` alone: ``harmonic`` keeps a_w + a_l = 2; ``l2`` keeps a_w^2 + a_l^2 = 2, the norm of the gradient.
        floor: lower bound of each I; without one a negative estimate would flip the sign of a coefficient.
        clip: bounds of p_w.

    Raises:
        ValueError: an unknown choice, a floor that is not positive, or no training pair.
    """
    _check("setting", setting, SETTINGS)
    _check("weighting", weighting, WEIGHTINGS)
    _check("scale", scale, SCALES)
    if floor <= 0:
        raise ValueError(f"weighting.floor = {floor}: it must be positive, or coefficients may change sign")
    if not bool(training.any()):
        raise ValueError("there is no training pair to take the constants of the weighting from")
    chosen, rejected = chosen_information.clamp(min=floor), rejected_information.clamp(min=floor)
    floored = (chosen_information < floor) | (rejected_information < floor)
    raw_share = _share(chosen, rejected, training, weighting)
    share = raw_share.clamp(*clip)
    harmonic = 2 / (1 / chosen + 1 / rejected)
    parts = torch.stack([share, 1 - share])
    if setting == "full":
        norm = parts.norm(dim=0) / 2**0.5 if scale == "l2" else 0.5
        chosen_a, rejected_a = parts / norm
    elif setting == "bw_only":
        chosen_a, rejected_a = 2 * parts / harmonic / (1 / harmonic[training]).mean()
    elif setting == "sf_only":
        chosen_a = rejected_a = harmonic / harmonic[training].mean()
    else:
        chosen_a = rejected_a = torch.ones_like(share)
    return Coefficients(chosen_a, rejected_a, share, floored, share != raw_share)


def shuffle_coefficients(coefficients: Coefficients, training: Tensor, *, seed: int) -> Coefficients:
    """Control: the coefficients permuted over pairs (training and others apart), so they mean nothing for their pair."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.arange(len(training))
    for group in (training, ~training):
        places = group.nonzero().squeeze(1)
        order[places] = places[torch.randperm(len(places), generator=generator)]
    return Coefficients(*(getattr(coefficients, name)[order] for name in Coefficients.__dataclass_fields__))


def reverse_coefficients(coefficients: Coefficients) -> Coefficients:
    """Control: chosen and rejected swapped, so that the response comprehended more is optimised more."""
    c = coefficients
    return Coefficients(c.rejected, c.chosen, 1 - c.chosen_share, c.floored, c.clipped)


def _share(chosen: Tensor, rejected: Tensor, training: Tensor, weighting: str) -> Tensor:
    if weighting == "inverse":
        return rejected / (chosen + rejected)
    difference = chosen - rejected
    tau = difference[training].std(correction=0).clamp(min=torch.finfo(difference.dtype).tiny)
    return torch.sigmoid(-difference / tau)


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"weighting.{name} = {value!r}: there are {', '.join(known)}")

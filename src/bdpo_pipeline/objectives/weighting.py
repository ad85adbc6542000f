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
from typing import Literal, get_args

import torch
from torch import Tensor

Setting = Literal["full", "bw_only", "sf_only", "none"]
Kind = Literal["inverse", "softmax"]
Scale = Literal["harmonic", "l2"]


@dataclass(frozen=True)
class Weighting:
    """How comprehension becomes coefficients.

    Attributes:
        setting: see the module's table.
        weighting: ``inverse``, p_w = I_l / (I_w + I_l); or ``softmax``, p_w = sigmoid((I_l - I_w) / tau) with tau the standard
            deviation of I_w - I_l over the training pairs.
        scale: of ``full`` alone: ``harmonic`` keeps a_w + a_l = 2; ``l2`` keeps a_w^2 + a_l^2 = 2, the norm of the gradient.
        floor: lower bound of each I; without one a negative estimate would flip the sign of a coefficient.
        clip: bounds of p_w.

    Raises:
        ValueError: an unknown choice, or a floor that is not positive.
    """

    setting: Setting = "full"
    weighting: Kind = "inverse"
    scale: Scale = "harmonic"
    floor: float = 0.01
    clip: tuple[float, float] = (0.1, 0.9)

    def __post_init__(self) -> None:
        for name, known in (("setting", Setting), ("weighting", Kind), ("scale", Scale)):
            if getattr(self, name) not in get_args(known):
                raise ValueError(
                    f"weighting.{name} = {getattr(self, name)!r}: there are {', '.join(get_args(known))}"
                )
        if self.floor <= 0:
            raise ValueError(
                f"weighting.floor = {self.floor}: it must be positive, or coefficients may change sign"
            )


@dataclass(frozen=True)
class Constants:
    """What the coefficients of one pair take from all training pairs.

    Attributes:
        tau: standard deviation of I_w - I_l.
        mean_harmonic: mean of H.
        mean_inverse_harmonic: mean of 1 / H.
    """

    tau: float
    mean_harmonic: float
    mean_inverse_harmonic: float


@dataclass(frozen=True)
class Coefficients:
    """Coefficients of pairs, each of shape ``[pairs]``."""

    chosen: Tensor
    rejected: Tensor
    chosen_share: Tensor
    floored: Tensor
    clipped: Tensor


def measure_constants(
    chosen_information: Tensor, rejected_information: Tensor, weighting: Weighting
) -> Constants:
    """Return the constants of the training pairs with these I_w and I_l, each ``[pairs]``.

    Raises:
        ValueError: no pair.
    """
    if not len(chosen_information):
        raise ValueError("there is no training pair to take the constants of the weighting from")
    chosen, rejected = chosen_information.clamp(weighting.floor), rejected_information.clamp(weighting.floor)
    harmonic = _harmonic_mean(chosen, rejected)
    tau = (chosen - rejected).std(correction=0).clamp(torch.finfo(chosen.dtype).tiny)
    return Constants(float(tau), float(harmonic.mean()), float((1 / harmonic).mean()))


def compute_coefficients(
    chosen_information: Tensor, rejected_information: Tensor, weighting: Weighting, constants: Constants
) -> Coefficients:
    """Return the coefficients of each pair.

    Args:
        chosen_information: I_w, ``[pairs]``.
        rejected_information: I_l, ``[pairs]``.
        weighting: how.
        constants: of the training pairs, whichever pairs these are.
    """
    chosen, rejected = chosen_information.clamp(weighting.floor), rejected_information.clamp(weighting.floor)
    floored = (chosen_information < weighting.floor) | (rejected_information < weighting.floor)
    if weighting.weighting == "inverse":
        raw_share = rejected / (chosen + rejected)
    else:
        raw_share = torch.sigmoid((rejected - chosen) / constants.tau)
    share = raw_share.clamp(*weighting.clip)
    harmonic = _harmonic_mean(chosen, rejected)
    parts = torch.stack([share, 1 - share])
    if weighting.setting == "full":
        norm = parts.norm(dim=0) / 2**0.5 if weighting.scale == "l2" else 0.5
        chosen_a, rejected_a = parts / norm
    elif weighting.setting == "bw_only":
        chosen_a, rejected_a = 2 * parts / harmonic / constants.mean_inverse_harmonic
    elif weighting.setting == "sf_only":
        chosen_a = rejected_a = harmonic / constants.mean_harmonic
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


def _harmonic_mean(first: Tensor, second: Tensor) -> Tensor:
    return 2 / (1 / first + 1 / second)

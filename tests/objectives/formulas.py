"""Every objective as its source writes it, in plain numpy and fp64, with its gradient worked out by hand.

Written from the sources and not from our code, so that the two can disagree. `loss` gives a value for each pair, of which the mean is
minimised; `gradient` gives B times the derivative of that mean in l_w and l_l, that is, the derivative of the sum. Where a source
stops a gradient, the stopped quantity is taken at the pairs `at`; elsewhere `at` is not used.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bdpo_pipeline.objectives import PairBatch

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Pairs:
    """The notation of docs/method.md: log-probs l and r, tokens n, coefficients a, unsafe u, sensitivities g."""

    l_w: Array
    l_l: Array
    n_w: Array
    n_l: Array
    step_n: Array
    r_w: Array
    r_l: Array
    a_w: Array
    a_l: Array
    u_w: Array
    u_l: Array
    g_w: Array
    g_l: Array

    @classmethod
    def of(cls, batch: PairBatch) -> "Pairs":
        columns = (getattr(batch, name).detach().double().numpy() for name in batch.__dataclass_fields__)
        return cls(*columns)

    d_w = property(lambda self: self.l_w - self.r_w)
    d_l = property(lambda self: self.l_l - self.r_l)
    h = property(lambda self: self.d_w - self.d_l)
    q_w = property(lambda self: self.l_w / self.n_w)
    q_l = property(lambda self: self.l_l / self.n_l)


@dataclass(frozen=True)
class Formula:
    source: str
    loss: Callable[..., Array]
    gradient: Callable[..., tuple[Array, Array]]

    def numerical_gradient(self, pairs: Pairs, options: dict[str, Any]) -> tuple[Array, Array]:
        """Central differences of the sum of the losses, with what the source stops held at `pairs`."""
        step = 1e-4
        sides = []
        for side in ("l_w", "l_l"):
            slopes = []
            for pair in range(len(pairs.l_w)):
                shift = step * (np.arange(len(pairs.l_w)) == pair)
                up, down = (
                    self.loss(replace(pairs, **{side: getattr(pairs, side) + s}), at=pairs, **options).sum()
                    for s in (shift, -shift)
                )
                slopes.append((up - down) / (2 * step))
            sides.append(np.array(slopes))
        return sides[0], sides[1]


def sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0, -x))


def bell(x: Array) -> Array:
    """The sigmoid's slope."""
    return sigmoid(x) * sigmoid(-x)


def minus_log_sigmoid(x: Array) -> Array:
    return np.logaddexp(0, -x)


def dpo_loss(p, *, beta, label_smoothing=0.0, at=None):
    e = label_smoothing
    return (1 - e) * minus_log_sigmoid(beta * p.h) + e * minus_log_sigmoid(-beta * p.h)


def dpo_gradient(p, *, beta, label_smoothing=0.0):
    g = beta * (sigmoid(-beta * p.h) - label_smoothing)
    return -g, g


def robust_loss(p, *, beta, label_smoothing, at=None):
    e = label_smoothing
    return ((1 - e) * minus_log_sigmoid(beta * p.h) - e * minus_log_sigmoid(-beta * p.h)) / (1 - 2 * e)


def robust_gradient(p, *, beta, label_smoothing):
    e = label_smoothing
    g = beta * ((1 - e) * sigmoid(-beta * p.h) + e * sigmoid(beta * p.h)) / (1 - 2 * e)
    return -g, g


def constrained_loss(p, *, beta, at=None, **relabelling):
    return dpo_loss(p, beta=beta)


def constrained_gradient(p, *, beta, **relabelling):
    return dpo_gradient(p, beta=beta)


def ipo_loss(p, *, beta, average, at=None):
    d = p.d_w / p.n_w - p.d_l / p.n_l if average else p.h
    return (d - 1 / (2 * beta)) ** 2


def ipo_gradient(p, *, beta, average):
    n_w, n_l = (p.n_w, p.n_l) if average else (1.0, 1.0)
    slope = 2 * (p.d_w / n_w - p.d_l / n_l - 1 / (2 * beta))
    return slope / n_w, -slope / n_l


def simpo_loss(p, *, beta, gamma_beta_ratio, at=None):
    return minus_log_sigmoid(beta * (p.q_w - p.q_l - gamma_beta_ratio))


def simpo_gradient(p, *, beta, gamma_beta_ratio):
    weight = beta * sigmoid(-beta * (p.q_w - p.q_l - gamma_beta_ratio))
    return -weight / p.n_w, weight / p.n_l


def cpo_loss(p, *, beta, alpha, at=None):
    return minus_log_sigmoid(beta * (p.l_w - p.l_l)) - alpha * p.l_w / p.step_n


def cpo_gradient(p, *, beta, alpha):
    weight = beta * sigmoid(-beta * (p.l_w - p.l_l))
    return -weight - alpha / p.step_n, weight


def orpo_loss(p, *, lam, at=None):
    def log_odds(q):
        return np.log(np.exp(q) / (1 - np.exp(q)))

    return -p.l_w / p.step_n + lam * minus_log_sigmoid(log_odds(p.q_w) - log_odds(p.q_l))


def orpo_gradient(p, *, lam):
    odds_w, odds_l = (np.exp(q) / (1 - np.exp(q)) for q in (p.q_w, p.q_l))
    weight = lam * odds_l / (odds_w + odds_l)
    return -1 / p.step_n - weight / (p.n_w * (1 - np.exp(p.q_w))), weight / (p.n_l * (1 - np.exp(p.q_l)))


def apo_zero_loss(p, *, beta, at=None):
    return 1 - sigmoid(beta * p.d_w) + sigmoid(beta * p.d_l)


def apo_zero_gradient(p, *, beta):
    return -beta * bell(beta * p.d_w), beta * bell(beta * p.d_l)


def dpop_loss(p, *, beta, lam, at=None):
    return minus_log_sigmoid(beta * (p.h - lam * np.maximum(0, -p.d_w)))


def dpop_gradient(p, *, beta, lam):
    weight = beta * sigmoid(-beta * (p.h - lam * np.maximum(0, -p.d_w)))
    return -weight * np.where(p.d_w < 0, 1 + lam, 1), weight


def safedpo_loss(p, *, beta, delta, at=None):
    return minus_log_sigmoid(beta * p.h - (p.u_l - p.u_w) * delta)


def safedpo_gradient(p, *, beta, delta):
    weight = beta * sigmoid(-(beta * p.h - (p.u_l - p.u_w) * delta))
    return -weight, weight


def dr_dpo_loss(p, *, beta, beta_prime, at=None):
    mean = np.mean(np.exp(-dpo_loss(p, beta=beta) / beta_prime))
    return np.full_like(p.l_w, -beta_prime * np.log(mean))


def dr_dpo_gradient(p, *, beta, beta_prime):
    share = sigmoid(beta * p.h) ** (1 / beta_prime)
    weight = len(share) * share / share.sum() * beta * sigmoid(-beta * p.h)
    return -weight, weight


def kldpo_weights(p, beta, tau, normalise):
    losses = dpo_loss(p, beta=beta)
    tilted = np.exp((losses - losses.mean()) / tau)
    return tilted / tilted.mean() if normalise else np.minimum(10, tilted)


def kldpo_loss(p, *, beta, tau, normalise, at):
    return kldpo_weights(at, beta, tau, normalise) * dpo_loss(p, beta=beta)


def kldpo_gradient(p, *, beta, tau, normalise):
    weight = kldpo_weights(p, beta, tau, normalise) * beta * sigmoid(-beta * p.h)
    return -weight, weight


def bounded_dpo_loss(p, *, beta, lam, at=None):
    return minus_log_sigmoid(beta * (p.d_w - np.log(lam * np.exp(p.d_l) + 1 - lam)))


def bounded_dpo_gradient(p, *, beta, lam):
    mixture = lam * np.exp(p.d_l) + 1 - lam
    weight = beta * sigmoid(-beta * (p.d_w - np.log(mixture)))
    return -weight, weight * lam * np.exp(p.d_l) / mixture


def bpo_loss(p, *, beta, alpha, at=None):
    return minus_log_sigmoid(beta * np.minimum(p.d_w, -alpha * p.d_l))


def bpo_gradient(p, *, beta, alpha):
    weight = beta * sigmoid(-beta * np.minimum(p.d_w, -alpha * p.d_l))
    # The smaller side alone is moved; at a tie, where both are subgradients, half of each.
    chosen = np.where(p.d_w == -alpha * p.d_l, 0.5, p.d_w < -alpha * p.d_l)
    return -weight * chosen, alpha * weight * (1 - chosen)


def adadpo_loss(p, *, beta, ceiling, at):
    return minus_log_sigmoid(beta * np.minimum(ceiling, np.exp(at.q_w - at.q_l)) * p.d_w - beta * p.d_l)


def adadpo_gradient(p, *, beta, ceiling):
    ratio = np.minimum(ceiling, np.exp(p.q_w - p.q_l))
    weight = beta * sigmoid(-beta * (ratio * p.d_w - p.d_l))
    return -ratio * weight, weight


def wdpo_loss(p, *, beta, rho, at=None):
    """At given sensitivities; in them the derivative is :func:`wdpo_penalty`."""
    return dpo_loss(p, beta=beta) + wdpo_penalty(p, beta, rho) * (p.g_w + p.g_l)


def wdpo_penalty(p, beta, rho):
    return rho * (beta * sigmoid(-beta * p.h)) ** 2


def wdpo_gradient(p, *, beta, rho):
    weight = beta * sigmoid(-beta * p.h)
    total = weight * (1 + 2 * rho * beta * weight * sigmoid(beta * p.h) * (p.g_w + p.g_l))
    return -total, total


def bdpo_loss(p, *, beta, placement, at):
    if placement == "reward":
        return minus_log_sigmoid(beta * (p.a_w * p.d_w - p.a_l * p.d_l))
    d_w, d_l = at.d_w + p.a_w * (p.d_w - at.d_w), at.d_l + p.a_l * (p.d_l - at.d_l)
    return minus_log_sigmoid(beta * (d_w - d_l))


def bdpo_gradient(p, *, beta, placement):
    margin = p.a_w * p.d_w - p.a_l * p.d_l if placement == "reward" else p.h
    weight = beta * sigmoid(-beta * margin)
    return -weight * p.a_w, weight * p.a_l


FORMULAS = {
    "adadpo": Formula("arXiv 2605.28440, token-mean form with ceiling", adadpo_loss, adadpo_gradient),
    "apo_zero": Formula("arXiv 2408.06266, with TRL's constant 1", apo_zero_loss, apo_zero_gradient),
    "bdpo": Formula("reconstructed, docs/method.md section 5", bdpo_loss, bdpo_gradient),
    "bounded_dpo": Formula("arXiv 2506.12725", bounded_dpo_loss, bounded_dpo_gradient),
    "bpo": Formula("arXiv 2506.03557", bpo_loss, bpo_gradient),
    "constrained_dpo": Formula(
        "arXiv 2305.18290, on relabelled pairs", constrained_loss, constrained_gradient
    ),
    "cpo": Formula("arXiv 2401.08417, NLL as in the authors' code", cpo_loss, cpo_gradient),
    "dpo": Formula("arXiv 2305.18290; smoothing as in the authors' code", dpo_loss, dpo_gradient),
    "dpop": Formula("arXiv 2402.13228, penalty inside the sigmoid", dpop_loss, dpop_gradient),
    "dr_dpo": Formula("arXiv 2407.07880, the authors' code", dr_dpo_loss, dr_dpo_gradient),
    "ipo": Formula("arXiv 2310.12036; averaged as in TRL", ipo_loss, ipo_gradient),
    "kldpo": Formula("arXiv 2502.01930, the authors' code; the paper normalises", kldpo_loss, kldpo_gradient),
    "orpo": Formula("arXiv 2403.07691, NLL of the response alone", orpo_loss, orpo_gradient),
    "robust_dpo": Formula("arXiv 2403.00409", robust_loss, robust_gradient),
    "safedpo": Formula("arXiv 2505.20065, equation 12", safedpo_loss, safedpo_gradient),
    "simpo": Formula("arXiv 2405.14734, the authors' code", simpo_loss, simpo_gradient),
    "wdpo": Formula("arXiv 2502.01930, the authors' code", wdpo_loss, wdpo_gradient),
}

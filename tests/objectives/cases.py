"""What the tests of all objectives go through: options to try, and how to differentiate and rearrange pairs."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from bdpo_pipeline.objectives import BoundObjective, PairBatch, bind_objective

COLUMNS = tuple(field.name for field in fields(PairBatch))
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "adadpo": [{}, {"beta": 0.05, "ceiling": 1.5}],
    "apo_zero": [{}, {"beta": 0.5}],
    "bdpo": [{}, {"placement": "gradient"}, {"beta": 0.5}],
    "bounded_dpo": [{}, {"beta": 0.3, "lam": 0.9}, {"lam": 0.05}],
    "bpo": [{}, {"beta": 0.5, "alpha": 1.0}],
    "constrained_dpo": [{}, {"beta": 0.5}],
    "cpo": [{}, {"beta": 0.5, "alpha": 0.0}, {"alpha": 0.2}],
    "dpo": [{}, {"beta": 0.5}, {"label_smoothing": 0.2}],
    "dpop": [{}, {"beta": 0.05, "lam": 2.0}, {"lam": 0.0}],
    "dr_dpo": [{}, {"beta": 0.5, "beta_prime": 0.3}],
    "ipo": [{}, {"average": False}, {"beta": 0.5}],
    "kldpo": [{}, {"normalise": True}, {"beta": 0.5, "tau": 0.3}],
    "orpo": [{}, {"lam": 1.0}],
    "robust_dpo": [{}, {"beta": 0.5, "label_smoothing": 0.3}],
    "safedpo": [{}, {"beta": 0.5, "delta": 2.0}],
    "simpo": [{}, {"beta": 2.5, "gamma_beta_ratio": 0.55}, {"gamma_beta_ratio": 0.0}],
    "wdpo": [{}, {"beta": 0.5, "rho": 1.0}],
}
CASES = [(name, options) for name, several in OPTIONS.items() for options in several]
# Their value is not what their gradient is the gradient of.
STOPPED = {"adadpo", "kldpo"}


def label(value: Any) -> str | None:
    """Name of a test's case."""
    return ",".join(f"{k}={v}" for k, v in value.items()) or "defaults" if isinstance(value, dict) else None


def is_stopped(bound: BoundObjective) -> bool:
    return bound.name in STOPPED or bound.options.get("placement") == "gradient"


def differentiate(bound: BoundObjective, batch: PairBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Losses, and the gradient of their sum in l_w and l_l."""
    chosen = batch.policy_chosen.detach().clone().requires_grad_()
    rejected = batch.policy_rejected.detach().clone().requires_grad_()
    losses = bound.loss(replace(batch, policy_chosen=chosen, policy_rejected=rejected))
    return losses.detach(), *torch.autograd.grad(losses.sum(), (chosen, rejected))


def evaluate(name: str, batch: PairBatch, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    return differentiate(bind_objective(name, options), batch)


def rearrange(batch: PairBatch, change: Callable[[Tensor], Tensor]) -> PairBatch:
    """The same change made to every column."""
    return PairBatch(**{name: change(getattr(batch, name)) for name in COLUMNS})


def mirror(batch: PairBatch) -> PairBatch:
    """Chosen and rejected swapped in every column that has two."""
    swap = {"chosen": "rejected", "rejected": "chosen"}
    sides = [name for name in COLUMNS if name != "step_chosen_tokens"]
    other = {n: "_".join(swap.get(word, word) for word in n.split("_")) for n in sides}
    return replace(batch, **{name: getattr(batch, other[name]) for name in sides})


def at_start(batch: PairBatch) -> PairBatch:
    """Before the first step: the policy is the reference."""
    return replace(batch, policy_chosen=batch.reference_chosen, policy_rejected=batch.reference_rejected)

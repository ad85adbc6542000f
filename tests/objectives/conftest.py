"""Pairs as an objective sees them, made up."""

from collections.abc import Callable

import pytest
import torch

from bdpo_pipeline.objectives import PairBatch


def make_batch(pairs: int = 6, seed: int = 5, **columns: torch.Tensor) -> PairBatch:
    """Pairs of a policy some nats away from its reference; `columns` replaces some of them."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(pairs, generator=generator, dtype=torch.float64)

    def tokens() -> torch.Tensor:
        return torch.randint(1, 60, (pairs,), generator=generator).double()

    chosen_tokens, rejected_tokens = tokens(), tokens()
    policy_chosen, policy_rejected = chosen_tokens * uniform(-3, -0.2), rejected_tokens * uniform(-3, -0.2)
    # Of each kind of pair one, whatever the draw.
    chosen_unsafe, rejected_unsafe = torch.arange(pairs) % 2, torch.arange(pairs) // 2 % 2
    values = {
        "policy_chosen": policy_chosen,
        "policy_rejected": policy_rejected,
        "chosen_tokens": chosen_tokens,
        "rejected_tokens": rejected_tokens,
        "step_chosen_tokens": chosen_tokens.mean().expand(pairs),
        "reference_chosen": policy_chosen + uniform(-15, 15),
        "reference_rejected": policy_rejected + uniform(-15, 15),
        "chosen_coefficient": uniform(0.2, 1.8),
        "rejected_coefficient": uniform(0.2, 1.8),
        "chosen_unsafe": chosen_unsafe.double(),
        "rejected_unsafe": rejected_unsafe.double(),
        "chosen_sensitivity": uniform(0, 50),
        "rejected_sensitivity": uniform(0, 50),
    }
    return PairBatch(**(values | columns))


@pytest.fixture
def batch() -> Callable[..., PairBatch]:
    return make_batch

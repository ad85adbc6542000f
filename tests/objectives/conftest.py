from collections.abc import Callable

import pytest
import torch

from bdpo_pipeline.objectives import PairBatch


def make_batch(pairs: int = 6, seed: int = 0, **columns: torch.Tensor) -> PairBatch:
    generator = torch.Generator().manual_seed(seed)

    def logps() -> torch.Tensor:
        return -100 * torch.rand(pairs, generator=generator, dtype=torch.float64)

    values = {
        "policy_chosen": logps(),
        "policy_rejected": logps(),
        "reference_chosen": logps(),
        "reference_rejected": logps(),
        "chosen_tokens": torch.randint(1, 200, (pairs,), generator=generator),
        "rejected_tokens": torch.randint(1, 200, (pairs,), generator=generator),
        "chosen_coefficient": 2 * torch.rand(pairs, generator=generator, dtype=torch.float64),
        "rejected_coefficient": 2 * torch.rand(pairs, generator=generator, dtype=torch.float64),
    }
    return PairBatch(**(values | columns))


@pytest.fixture
def batch() -> Callable[..., PairBatch]:
    return make_batch

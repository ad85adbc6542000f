"""Random pairs of token ids, and training jobs over them, for a tiny model."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bdpo_pipeline.engine.jobs import Compute, LoraSpec, OptimiserSpec, TrainJob
from bdpo_pipeline.engine.launcher import run_job

VOCABULARY = 250
# Comprehension followed, and coefficients from the policy in each step.
FOLLOWED = {
    "normalise": "token",
    "online": True,
    "reverse": False,
    "weighting": {
        "setting": "bw_only",
        "weighting": "inverse",
        "scale": "harmonic",
        "floor": 0.01,
        "clip": [0.1, 0.9],
    },
    "constants": {"tau": 0.4, "mean_harmonic": 0.3, "mean_inverse_harmonic": 5.0},
}


def random_ids(generator: np.random.Generator, low: int, high: int) -> list[int]:
    return generator.integers(0, VOCABULARY, int(generator.integers(low, high))).tolist()


@dataclass(frozen=True)
class Pairs:
    """Pairs of token ids with made-up references, as a training job takes them."""

    ragged: dict[str, Any]
    flat: dict[str, Any]


def make_pairs(number: int = 17, validation: int = 4, seed: int = 0, longest: int = 50) -> Pairs:
    generator = np.random.default_rng(seed)
    contexts = [random_ids(generator, 3, 30) for _ in range(number)]
    responses = [random_ids(generator, 1, longest) for _ in range(2 * number)]
    lengths = np.array([len(ids) for ids in responses], float).reshape(-1, 2)
    return Pairs(
        {"contexts": contexts, "responses": responses},
        {
            "is_training": np.arange(number) < number - validation,
            "reference_chosen": -5.5 * lengths[:, 0],
            "reference_rejected": -5.5 * lengths[:, 1],
            "chosen_coefficient": generator.uniform(0.2, 1.8, number),
            "rejected_coefficient": generator.uniform(0.2, 1.8, number),
        },
    )


def wait_for(condition: Callable[[], Any], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@pytest.fixture(scope="session")
def pairs() -> Pairs:
    return make_pairs()


def make_job(model: str, *, processes: int = 1, tokens_per_batch: int = 400, **changes: Any) -> TrainJob:
    settings: dict[str, Any] = {
        "objective": "bdpo",
        "options": {"beta": 0.1},
        "lora": LoraSpec(4, 8, 0.0, "all-linear"),
        # With the usual epsilon, a weight whose gradient is next to nothing makes whole steps of its rounding.
        "optimiser": OptimiserSpec(1e-2, 0.0, 0.1, "cosine", 1.0, epsilon=1e-3),
        "epochs": 2,
        "pairs_per_step": 4,
        "evaluate_every": 2,
        "early_stopping_patience": None,
        "checkpoint_every": 1,
        "seeds": {"adapter": 1, "order": 2, "dropout": 3},
    }
    compute = Compute(device="cpu", processes=processes, threads=1, tokens_per_batch=tokens_per_batch)
    return TrainJob(model=model, compute=compute, **(settings | changes))


@pytest.fixture(scope="session")
def job(tiny_model: Callable[[str], dict[str, Any]]) -> Callable[..., TrainJob]:
    return lambda **changes: make_job(tiny_model("llama")["path"], **changes)


@pytest.fixture
def train(tmp_path: Path, pairs: Pairs) -> Callable[..., tuple[dict[str, Any], Path]]:
    def run(job: TrainJob, **options: Any) -> tuple[dict[str, Any], Path]:
        return run_job(job, tmp_path, ragged=pairs.ragged, flat=pairs.flat, **options)

    return run

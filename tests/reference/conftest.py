"""Pairs for a tiny model, and the model that can be enumerated."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def base(tiny_model: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """The `base_model` artifact of a tiny model."""
    return tiny_model("llama")


@pytest.fixture(scope="session")
def rows() -> Callable[[int], list[dict[str, Any]]]:
    """`rows(12)` gives canonical rows; 4 different rejected responses, all else differs, and every fifth is held out."""
    splits = ["train", "train", "train", "validation", "heldout"]
    labels = {
        "chosen_is_safe": True,
        "rejected_is_safe": False,
        "chosen_severity": 0,
        "rejected_severity": None,
    }
    return lambda number: [
        {
            "pair_id": f"{i:032x}",
            "split": splits[i % 5],
            "prompt": [{"role": "user", "content": f"Question {i}?"}],
            "chosen": f"I can not help with {i}.",
            "rejected": "Sure! " * (1 + i % 4),
            **labels,
        }
        for i in range(number)
    ]


@pytest.fixture(scope="session")
def enumerable() -> ModuleType:
    """The benchmark's model of nine tokens, with all its responses and its exact log-probs."""
    path = ROOT / "benchmarks" / "comprehension" / "enumerable.py"
    spec = importlib.util.spec_from_file_location("enumerable", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

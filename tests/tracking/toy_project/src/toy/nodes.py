import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from bdpo_pipeline.engine.events import publish
from bdpo_pipeline.parameters import ParameterGroup
from bdpo_pipeline.tables import DataFrame


class Objective(ParameterGroup):
    name: str
    beta: float


class TrainingParameters(ParameterGroup):
    learning_rate: float
    steps: int
    objective: Objective
    hub_token: str | None
    interrupt_at: int | None
    pause: float
    waits_for: str | None


class EvaluationParameters(ParameterGroup):
    fail: str | None = None


def make_sources(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "file": f"{name}.jsonl",
            "format": "jsonl",
            "licence": "MIT",
            "sha256": f"{number:064x}",
            "bytes": 10,
            "rows_read": 4,
            "pairs": 3,
            "quarantined": 1,
            "no_preference": 0,
        }
        for number, name in enumerate(parameters["sources"])
    ]


def make_pairs(sources: list[dict[str, Any]]) -> tuple[DataFrame, DataFrame]:
    import pandas as pd

    pairs = pd.DataFrame({"pair_id": [f"{row}" for row in range(6)], "chosen": "yes", "rejected": "no"})
    return pairs[:4], pairs[4:]


def make_base_model(store: str) -> dict[str, Any]:
    from bdpo_pipeline.models.prepare import ModelSource, prepare_base_model

    return prepare_base_model(ModelSource(source="tiny_random", name="llama"), Path(store))


def make_tokens(pairs: DataFrame, base_model: dict[str, Any]) -> DataFrame:
    return pairs[["pair_id"]].assign(tokens=[[1, 2, 3]] * len(pairs))


def train(
    tokens: DataFrame, base_model: dict[str, Any], parameters: TrainingParameters
) -> tuple[str, DataFrame, dict[str, Any]]:
    import pandas as pd
    import torch
    from peft import LoraConfig, get_peft_model

    from bdpo_pipeline.models.loading import load_model

    rows = []
    for step in range(1, parameters.steps + 1):
        values = {"loss": 1 / step, "rewards/margins": 0.1 * step, "grad_norm": None}
        rows.append({"step": step, "split": "train", **values, "rewards/accuracies": 0.5})
        publish({"event": "metrics", "split": "train", "step": step, "values": values})
        time.sleep(parameters.pause)
        while (
            step == parameters.steps // 2 and parameters.waits_for and not Path(parameters.waits_for).exists()
        ):
            time.sleep(0.01)
        if step == parameters.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        publish(
            {"event": "progress", "task": "train", "done": step, "total": parameters.steps, "seconds": 0.1}
        )
    rows.append({"step": parameters.steps, "split": "validation", "loss": 0.25})
    torch.manual_seed(0)
    policy = get_peft_model(
        load_model(base_model["path"], dtype="float32"),
        LoraConfig(target_modules="all-linear", init_lora_weights=False),
    )
    scratch = tempfile.mkdtemp()
    policy.save_pretrained(scratch)
    summary = {"objective": "bdpo", "steps": parameters.steps, "dtype": "float32", "stopped_early": False}
    return scratch, pd.DataFrame(rows), summary


def score(adapter: Path, pairs: DataFrame, parameters: EvaluationParameters) -> tuple[DataFrame, DataFrame]:
    import pandas as pd

    if parameters.fail == "error":
        raise ValueError("two pairs have no tokens\nand this is a second line")
    heldout = pd.DataFrame(
        [
            {"slice": "all", "pairs": 2, "accuracy": 0.5},
            {"slice": "category: Animal Abuse", "pairs": 1, "accuracy": None},
        ]
    )
    safety = pd.DataFrame(
        [
            {
                "prompt_set": "xstest",
                "desired": "comply",
                "model": "base",
                "judge": "phrases",
                "rate": 0.25,
            }
        ]
    )
    return heldout, safety

"""All weights trained, sharded over two processes, from `kedro run` to the report."""

import shutil
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM

PARAMETERS = [
    "training.lora=null",
    "training.optimiser.learning_rate=1.0e-3",
    "training.epochs=1",
    "compute.processes=2",
    "compute.sharding=fsdp2",
    "compute.threads=1",
]


def test_a_whole_model_is_trained_in_shards_evaluated_and_kept(
    chain, run_kedro, load_catalog, tmp_path
) -> None:
    data_root = tmp_path / "data"
    shutil.copytree(chain.data_root, data_root)
    parameters = ",".join([f"data_root={data_root}", *PARAMETERS])
    done = run_kedro(
        "run", "--env", "test", "--pipelines", "training,evaluation,ability,reporting", "--params", parameters
    )
    assert done.returncode == 0, done.stdout[-8000:]
    catalog = load_catalog(data_root)

    summary = catalog.load("training_summary")
    execution = catalog.load("training_execution")
    assert (summary["trained"], execution["processes"]) == ("all weights", 2)
    assert abs(execution["weights_held"] - 0.5) < 0.02
    base = AutoModelForCausalLM.from_pretrained(catalog.load("base_model")["path"], dtype=torch.float32)
    folder = Path(catalog.load("adapter"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert summary["trainable_parameters"] == sum(p.numel() for p in base.parameters())
    before, after = base.state_dict(), model.state_dict()
    assert all(not torch.equal(after[name], value) for name, value in before.items())

    # What is evaluated is that model, not the base.
    scores = catalog.load("heldout_scores")
    assert np.isfinite(scores["margin"]).all()
    assert (scores["policy_chosen_logp"] - scores["reference_chosen_logp"]).abs().min() > 0
    answers = catalog.load("generations").groupby("model")["response"].apply(list)
    assert len(answers["base"]) == len(answers["adapter"])
    assert answers["base"] != answers["adapter"]
    assert ModelCard(catalog.load("model_card")).data.to_dict()["library_name"] == "transformers"

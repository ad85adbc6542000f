"""A memory budget through real workers: it changes the micro-batches, keeps to the memory, and changes no result."""

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from bdpo_pipeline.engine.budget import gathered_bytes, longest_rows, resting_bytes
from bdpo_pipeline.engine.jobs import Compute, OptimiserSpec, ScoreJob
from bdpo_pipeline.engine.launcher import WorkerError, run_job
from bdpo_pipeline.engine.layout import Row
from bdpo_pipeline.engine.sealed import seal, unseal
from bdpo_pipeline.models.adapters import add_lora
from bdpo_pipeline.models.loading import load_model

PAIRS = 24


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory):
    """A model whose activations weigh as much as the process around them."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=4000,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=4,
        initializer_range=0.1,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("wide")
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def data(seed=0):
    generator = np.random.default_rng(seed)
    responses = [generator.integers(0, 4000, generator.integers(80, 120)).tolist() for _ in range(2 * PAIRS)]
    lengths = np.array([len(ids) for ids in responses], float).reshape(-1, 2)
    ragged = {
        "contexts": [generator.integers(0, 4000, 30).tolist() for _ in range(PAIRS)],
        "responses": responses,
    }
    flat = {
        "is_training": np.ones(PAIRS, bool),
        "reference_chosen": -8.3 * lengths[:, 0],
        "reference_rejected": -8.3 * lengths[:, 1],
    }
    return {"ragged": ragged, "flat": flat}


def budgeted(job, model, **compute):
    asked = Compute(device="cpu", threads=1, **compute)
    # A rate at which the first step of Adam, which is the gradient's sign, does not blow rounding up beyond what is compared.
    optimiser = OptimiserSpec(3e-4, 0.0, 0.0, "cosine", 1.0)
    # All pairs in a step: as many places in a micro-batch as the budget lets be.
    return replace(
        job(),
        model=model,
        objective="dpo",
        options={},
        pairs_per_step=PAIRS,
        compute=asked,
        optimiser=optimiser,
    )


@pytest.fixture(scope="module")
def roomy(wide_model, job, tmp_path_factory):
    return run_job(budgeted(job, wide_model, memory_gb=40.0), tmp_path_factory.mktemp("roomy"), **data())


def assert_same_training(one, other):
    (result, folder), (other_result, other_folder) = one, other
    for row, other_row in zip(result["history"], other_result["history"], strict=True):
        for name in ("loss", "grad_norm", "logps/chosen"):
            assert row[name] == pytest.approx(other_row[name], rel=1e-5, abs=1e-5)
    tensors, others = (load_file(f / "adapter" / "adapter_model.safetensors") for f in (folder, other_folder))
    for name, value in tensors.items():
        np.testing.assert_allclose(value, others[name], atol=1e-5, rtol=0)


def test_a_small_budget_is_kept_and_changes_no_result(roomy, wide_model, job, tmp_path, caplog):
    result = roomy[0]
    assert result["tokens_per_batch"] == 2048
    activations = result["memory_estimate_bytes"] - result["memory_resting_bytes"]
    memory_gb = (result["memory_resting_bytes"] + 0.35 * activations) / 1e9
    caplog.set_level(logging.INFO, "bdpo_pipeline")
    small = run_job(budgeted(job, wide_model, memory_gb=memory_gb), tmp_path, **data())
    assert small[0]["tokens_per_batch"] in (256, 512)
    assert small[0]["memory_estimate_bytes"] <= memory_gb * 1e9
    assert small[0]["peak_memory_bytes"] <= memory_gb * 1e9
    assert f"At most {small[0]['tokens_per_batch']} places in a pass" in caplog.text
    assert "compute.memory_gb" in caplog.text
    assert_same_training(roomy, small)


def test_the_estimate_is_what_is_taken(roomy):
    result = roomy[0]
    estimated = result["memory_estimate_bytes"] - result["memory_resting_bytes"]
    taken = result["peak_memory_bytes"] - result["memory_resting_bytes"]
    assert 0.4 * estimated < taken < estimated


def test_two_processes_share_a_budget_and_agree(roomy, wide_model, job, tmp_path):
    two = run_job(budgeted(job, wide_model, memory_gb=40.0, processes=2), tmp_path, **data())
    assert two[0]["memory_budget_bytes"] == 20e9
    assert_same_training(roomy, two)


def test_a_job_goes_on_with_what_was_chosen_first(roomy, wide_model, job):
    result, folder = roomy
    wanted = budgeted(job, wide_model, memory_gb=40.0)
    (folder / "result.json").unlink()
    state = max(folder.glob("checkpoint-*")) / "state.json"
    content = unseal(state)
    assert content["layout"]["tokens_per_batch"] == 2048
    content["layout"]["tokens_per_batch"] = 333
    state.write_text(seal(content))
    again, _ = run_job(wanted, folder.parent, **data())
    assert again["tokens_per_batch"] == 333
    assert again["history"] == result["history"]


def test_a_row_that_does_not_fit_is_an_error_before_training(wide_model, job, tmp_path):
    longest = max(
        30 + sum(len(r) - 1 for r in data()["ragged"]["responses"][2 * i : 2 * i + 2]) for i in range(PAIRS)
    )
    message = (
        rf"BudgetError: the longest row of this job, of {longest} tokens.*the budget is 0\.10 GB.*compute\.memory_gb.*"
        r"activation_checkpointing.*filtering\.length"
    )
    with pytest.raises(WorkerError, match=message):
        run_job(budgeted(job, wide_model, memory_gb=0.1), tmp_path, **data())


def test_scoring_keeps_to_its_budget_too(wide_model, tmp_path):
    ragged = data()["ragged"]
    flat = {"response_context": np.arange(PAIRS).repeat(2)}
    found = []
    for compute in (
        Compute(threads=1, memory_gb=40.0),
        Compute(threads=1, tokens_per_batch=1),
    ):
        logps = {}

        def keep(event, logps=logps):
            if event["event"] == "scores":
                logps.update(zip(event["responses"], event["logps"], strict=True))

        result, _ = run_job(ScoreJob(wide_model, compute), tmp_path, ragged=ragged, flat=flat, on_event=keep)
        found.append([logps[i] for i in range(2 * PAIRS)])
        assert result["tokens_per_batch"] == (compute.tokens_per_batch or 2048)
    np.testing.assert_allclose(*found, atol=1e-3, rtol=0)
    with pytest.raises(WorkerError, match=r"BudgetError: the longest row"):
        run_job(ScoreJob(wide_model, Compute(threads=1, memory_gb=0.1)), tmp_path, ragged=ragged, flat=flat)


LIMITED = """
import json, resource, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import test_budget as t
from conftest import make_job
from bdpo_pipeline.engine.launcher import run_job
limit = int(sys.argv[4])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
job = t.budgeted(lambda: make_job(sys.argv[2]), sys.argv[2], **json.loads(sys.argv[5]))
run_job(job, Path(sys.argv[3]), **t.data())
"""


def test_a_limited_worker_dies_of_what_the_budget_avoids(wide_model, roomy, tmp_path):
    resting = roomy[0]["memory_resting_bytes"]

    def run(**compute):
        arguments = [str(Path(__file__).parent), wide_model, str(tmp_path), str(limit), json.dumps(compute)]
        return subprocess.run(
            [sys.executable, "-c", LIMITED, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ,
        )

    # The kernel counts what is reserved, which is more than what is resident.
    limit = int(_reserved_by_imports() + 450e6)
    died = run(tokens_per_batch=100_000)
    assert died.returncode != 0
    assert "can't allocate memory" in died.stderr or "Cannot allocate memory" in died.stderr
    done = run(memory_gb=(resting + 300e6) / 1e9)
    assert done.returncode == 0, done.stderr


def _reserved_by_imports() -> int:
    script = (
        "import torch, transformers, peft, accelerate, torch.distributed.tensor, torch._subclasses.fake_tensor\n"
        "from transformers import LlamaForCausalLM\n"
        "print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmData')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024


def test_longest_rows_come_first_and_there_is_always_one():
    rows = [Row([1] * length, [[2]]) for length in (5, 9, 3, 7)]
    assert longest_rows(rows, 16) == [1, 3]
    assert longest_rows(rows, 2) == [1]
    assert longest_rows(rows, 1000) == [1, 3, 0, 2]


@pytest.mark.parametrize(("dtype", "each"), [("float32", 4 + 4 + 8), ("bfloat16", 2 + 4 + 4 + 8)])
def test_weights_at_rest(tiny_model, dtype, each):
    model = load_model(tiny_model("llama")["path"], dtype=dtype)
    number = sum(p.numel() for p in model.parameters())
    assert resting_bytes(model, learning=False) == number * (4 if dtype == "float32" else 2)
    model.requires_grad_(True)
    assert resting_bytes(model, learning=True) == number * each
    # Shards are the masters.
    assert resting_bytes(model, learning=True, sharded_over=4) == pytest.approx(number * 16 / 4, abs=1)
    assert gathered_bytes(model, learning=True) > gathered_bytes(model, learning=False)


def test_an_adapter_rests_beside_shards_of_the_frozen_weights(tiny_model):
    policy = add_lora(
        load_model(tiny_model("llama")["path"], dtype="bfloat16"),
        r=4,
        alpha=8,
        dropout=0.0,
        target_modules="all-linear",
        seed=0,
    )
    adapter = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    base = sum(p.numel() for p in policy.parameters()) - adapter
    assert resting_bytes(policy, learning=True) == 2 * base + 16 * adapter
    assert resting_bytes(policy, learning=True, sharded_over=2) == base + 16 * adapter

"""Training all weights, sharding, checkpointed activations and quantised bases, through the real launcher."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

from bdpo_pipeline.engine.jobs import Compute, LoraSpec, OptimiserSpec
from bdpo_pipeline.engine.launcher import WorkerError, run_job

from .conftest import FOLLOWED
from .same_weights import assert_same_weights

ALL_WEIGHTS = {"lora": None, "optimiser": OptimiserSpec(1e-3, 0.0, 0.1, "cosine", 1.0, epsilon=1e-3)}
SHARDED = {"processes": 2, "sharding": "fsdp2"}
# Steps of three pairs over two processes: uneven shards, and a last step of an epoch in which one process has no pair.
UNEVEN = {"pairs_per_step": 3, "epochs": 1}


def with_compute(job, **changes):
    return replace(job, compute=replace(job.compute, **changes))


def weights(folder: Path) -> dict[str, np.ndarray]:
    [file] = (folder / "adapter").glob("*.safetensors")
    return load_file(file)


def assert_same(one, other, atol=2e-6):
    for row, other_row in zip(one[0]["history"], other[0]["history"], strict=True):
        assert row.keys() == other_row.keys()
        for name in ("loss", "logps/chosen", "logps/rejected", "grad_norm"):
            if name in row:
                assert row[name] == pytest.approx(other_row[name], rel=1e-4, abs=10 * atol)
    assert_same_weights(weights(one[1]), weights(other[1]), atol)


@pytest.fixture(scope="module", params=["adapter", "all weights"])
def wanted(request, job):
    return job(**({} if request.param == "adapter" else ALL_WEIGHTS), **UNEVEN)


@pytest.fixture(scope="module")
def plainly(wanted, pairs, tmp_path_factory):
    """One process, nothing sharded, nothing computed again."""
    return run_job(wanted, tmp_path_factory.mktemp("plain"), ragged=pairs.ragged, flat=pairs.flat)


def test_all_weights_are_trained_and_load_like_any_model(train, job, tiny_model):
    result, folder = train(job(**ALL_WEIGHTS, epochs=6))
    losses = [row["loss"] for row in result["history"] if row["split"] == "train"]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    base = AutoModelForCausalLM.from_pretrained(tiny_model("llama")["path"], dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(folder / "adapter", dtype=torch.float32)
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, base.state_dict()[name])]
    assert len(moved) == len(list(base.parameters()))
    assert result["trainable_parameters"] == sum(p.numel() for p in base.parameters())
    assert model.config.use_cache


@pytest.mark.parametrize(
    "change",
    [{"tokens_per_batch": 1}, {"activation_checkpointing": True}, {"processes": 2}, SHARDED],
    ids=["micro-batches", "checkpointed", "two processes", "sharded"],
)
def test_how_it_is_computed_changes_nothing(train, wanted, plainly, change):
    other = train(with_compute(wanted, **change))
    assert_same(plainly, other)
    assert other[0]["processes"] == change.get("processes", 1)
    assert other[0]["weights_held"] == pytest.approx(0.5 if "sharding" in change else 1.0, abs=0.02)


@pytest.mark.parametrize("objective", ["dr_dpo", "cpo"])
def test_sharded_weights_agree_where_a_step_is_two_passes(train, job, objective):
    wanted = job(objective=objective, options={}, **ALL_WEIGHTS, **UNEVEN)
    assert_same(train(wanted), train(with_compute(wanted, **SHARDED)))


def test_sharded_weights_agree_where_comprehension_is_followed(pairs, job, tmp_path):
    # A pass with gradients, one without, and then the backward pass of the first.
    wanted = job(**ALL_WEIGHTS, **UNEVEN, comprehension=FOLLOWED)
    ragged = pairs.ragged | {"marginal_context": [[9, 8, 7]]}
    sharded = with_compute(wanted, **SHARDED, activation_checkpointing=True)
    one, other = (run_job(each, tmp_path, ragged=ragged, flat=pairs.flat) for each in (wanted, sharded))
    assert_same(one, other)
    assert "comprehension/imbalance" in other[0]["history"][0]


def test_sharded_weights_go_back_to_the_best(train, job):
    # A learning rate at which validation pairs with random labels get worse soon.
    spec = OptimiserSpec(0.03, 0.0, 0.0, "constant_with_warmup", 10.0, epsilon=1e-3)
    wanted = job(lora=None, optimiser=spec, epochs=6, evaluate_every=1, early_stopping_patience=2)
    one, other = train(wanted), train(with_compute(wanted, **SHARDED))
    assert other[0]["stopped_early"]
    assert other[0]["best_step"] < other[0]["steps"]
    assert_same(one, other, atol=1e-5)


def test_weights_in_bf16_are_stepped_in_fp32_sharded_or_not(train, job):
    wanted = with_compute(job(**ALL_WEIGHTS, **UNEVEN), dtype="bfloat16")
    one, other = train(wanted), train(with_compute(wanted, **SHARDED))
    for row, other_row in zip(one[0]["history"], other[0]["history"], strict=True):
        assert row["loss"] == pytest.approx(other_row["loss"], abs=0.02)
    saved = AutoModelForCausalLM.from_pretrained(other[1] / "adapter")
    assert saved.dtype == torch.bfloat16


def test_killed_training_of_sharded_weights_goes_on_to_the_same_weights(
    train, job, worker_pids, hold_workers
):
    wanted = with_compute(job(**ALL_WEIGHTS, epochs=4, early_stopping_patience=1000), **SHARDED)
    result, folder = train(wanted)
    expected, history = weights(folder), result["history"]
    (folder / "result.json").unlink()
    for path in [*folder.glob("checkpoint-*/*"), *folder.glob("checkpoint-*")]:
        path.unlink() if path.is_file() else path.rmdir()

    killed = []

    def kill_at_step_five(event):
        if event["event"] == "metrics" and event["step"] == 5 and not killed:
            killed.extend(worker_pids(folder))
            os.kill(killed[-1], signal.SIGKILL)

    with hold_workers(6, event="metrics", split="train"), pytest.raises(WorkerError):
        train(wanted, on_event=kill_at_step_five)
    assert killed
    assert not worker_pids(folder)
    resumed, _ = train(wanted)
    assert resumed["resumed_from_step"] == 5
    assert resumed["history"] == history
    for name, value in weights(folder).items():
        np.testing.assert_array_equal(value, expected[name])


def test_a_quantised_base_is_trained_by_an_adapter(train, job, wide_model):
    pytest.importorskip("bitsandbytes")
    lora = LoraSpec(4, 8, 0.0, "all-linear")
    dense = job(epochs=1, lora=lora, objective="simpo", options={})
    dense = replace(dense, model=wide_model)
    quantised = with_compute(dense, quantisation="nf4")
    one, other = train(dense), train(quantised)
    # Four bits move log-probs, though not far; and the adapter has the same weights to train.
    assert weights(one[1]).keys() == weights(other[1]).keys()
    first, other_first = one[0]["history"][0], other[0]["history"][0]
    assert first["logps/chosen"] != other_first["logps/chosen"]
    assert first["logps/chosen"] == pytest.approx(other_first["logps/chosen"], rel=0.1)
    losses = [row["loss"] for row in other[0]["history"] if row["split"] == "train"]
    assert all(np.isfinite(losses))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sharding": "fsdp2"}, r"compute\.processes is 1"),
        ({"processes": 2, "sharding": "fsdp2", "quantisation": "nf4"}, "do not go together"),
    ],
)
def test_what_cannot_be_combined_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Compute(**change)


def test_four_bit_weights_cannot_be_trained(job):
    with pytest.raises(ValueError, match=r"training\.lora is null"):
        with_compute(job(lora=None), quantisation="nf4")


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (SHARDED, "sharding to null"),
        ({"activation_checkpointing": True}, "activation_checkpointing to false"),
    ],
)
def test_an_objective_that_differentiates_twice_says_what_it_cannot_do(train, job, change, remedy):
    with pytest.raises(WorkerError, match=rf"wdpo differentiates twice.*compute\.{remedy}"):
        train(with_compute(job(objective="wdpo", options={}), **change))


@pytest.fixture(scope="session")
def wide_model(tiny_model, tmp_path_factory) -> str:
    """As wide as four-bit blocks must be."""
    folder = tmp_path_factory.mktemp("wide")
    source = Path(tiny_model("llama")["path"])
    for path in source.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((source / "config.json").read_text())
    config |= {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        type(AutoModelForCausalLM.from_pretrained(source).config)(**config)
    )
    model.save_pretrained(folder)
    return str(folder)

"""Training through the real launcher: what the layout, the processes, and a kill must not change."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from bdpo_pipeline.engine.launcher import WorkerError, run_job

from .conftest import FOLLOWED, wait_for
from .same_weights import assert_same_weights

HISTORY = ("loss", "rewards/chosen", "rewards/margins", "logps/rejected", "grad_norm")


def adapter(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def assert_same_training(one, other, atol=2e-6):
    (result, folder), (other_result, other_folder) = one, other
    for row, other_row in zip(result["history"], other_result["history"], strict=True):
        assert (row["step"], row["split"]) == (other_row["step"], other_row["split"])
        for name in HISTORY:
            if name in row:
                assert row[name] == pytest.approx(other_row[name], abs=10 * atol, rel=1e-4)
    assert_same_weights(adapter(folder), adapter(other_folder), atol)


def test_history_has_every_step_and_evaluation(train, job):
    result, folder = train(job())
    history = result["history"]
    # 13 training pairs, 4 a step, the last of an epoch with 1: 4 steps an epoch.
    assert [row["step"] for row in history if row["split"] == "train"] == list(range(8))
    assert [row["step"] for row in history if row["split"] == "validation"] == [2, 4, 6, 8]
    assert result["steps"] == 8
    assert history[-2]["num_tokens"] > history[0]["num_tokens"] > 0
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 8)


def test_training_lowers_the_loss(train, job):
    result, _ = train(job(epochs=6))
    losses = [row["loss"] for row in result["history"] if row["split"] == "train"]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_epsilon_bounds_the_steps_of_the_optimiser(train, job):
    # Steps are at most the learning rate, times the gradient, clipped to 1, over epsilon; the other half of an adapter starts at zero.
    spec = replace(job().optimiser, epsilon=1e6)
    _, folder = train(job(optimiser=spec))
    moved = [np.abs(value).max() for name, value in adapter(folder).items() if "lora_B" in name]
    assert 0 < max(moved) < 8 * spec.learning_rate / spec.epsilon


def test_micro_batches_change_nothing(train, job):
    assert_same_training(train(job(tokens_per_batch=1)), train(job(tokens_per_batch=4000)))


def test_two_processes_with_uneven_shards_train_the_same_adapter(train, job):
    # Steps of 3 pairs over two processes, and one with a single pair: one process has none.
    wanted = {"pairs_per_step": 3, "epochs": 1}
    one, two = train(job(**wanted)), train(job(**wanted, processes=2))
    assert one[0]["steps"] == 5
    assert two[0]["processes"] == 2
    assert two[0]["distributed_type"] == "MULTI_CPU"
    assert_same_training(one, two)


@pytest.mark.parametrize(
    ("objective", "comprehension"), [("dr_dpo", None), ("wdpo", None), ("cpo", None), ("bdpo", FOLLOWED)]
)
def test_two_processes_agree_on_what_pairs_of_a_step_share(pairs, job, tmp_path, objective, comprehension):
    ragged = pairs.ragged | {"marginal_context": [[9, 8, 7]]}
    results = []
    for processes in (1, 2):
        wanted = job(
            objective=objective,
            options={},
            comprehension=comprehension,
            processes=processes,
            pairs_per_step=3,
            epochs=1,
        )
        results.append(run_job(wanted, tmp_path, ragged=ragged, flat=pairs.flat))
    assert_same_training(*results)
    names = {name for name in results[0][0]["history"][0] if name.startswith("comprehension/")}
    assert bool(names) == (comprehension is not None)


def test_same_job_again_gives_the_same_bytes(train, job):
    _, folder = train(job(lora=job().lora.__class__(4, 8, 0.1, "all-linear")))
    first = (folder / "adapter" / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(folder)
    _, folder = train(job(lora=job().lora.__class__(4, 8, 0.1, "all-linear")))
    assert (folder / "adapter" / "adapter_model.safetensors").read_bytes() == first


def test_killed_training_goes_on_to_the_same_bytes(train, job, worker_pids, hold_workers):
    # With dropout and early stopping, so that their state is part of what must survive.
    wanted = job(epochs=4, lora=job().lora.__class__(4, 8, 0.1, "all-linear"), early_stopping_patience=1000)
    result, folder = train(wanted)
    expected = (folder / "adapter" / "adapter_model.safetensors").read_bytes()
    history = result["history"]
    (folder / "result.json").unlink()
    for checkpoint in folder.glob("checkpoint-*"):
        for path in checkpoint.iterdir():
            path.unlink()
        checkpoint.rmdir()

    kills = 0

    def kill_at_step_five(event):
        nonlocal kills
        if event["event"] == "metrics" and event["step"] == 5 and not kills:
            kills += 1
            for pid in worker_pids(folder):
                os.kill(pid, signal.SIGKILL)

    held = hold_workers(6, event="metrics", split="train")
    with held, pytest.raises(WorkerError, match="was ended by signal 9"):
        train(wanted, on_event=kill_at_step_five)
    resumed, _ = train(wanted)
    assert kills == 1
    assert resumed["resumed_from_step"] == 5
    assert resumed["history"] == history
    assert (folder / "adapter" / "adapter_model.safetensors").read_bytes() == expected


def test_early_stopping_keeps_the_best_adapter(train, job):
    # A learning rate at which validation pairs with random labels get worse soon.
    optimiser = job().optimiser.__class__(0.1, 0.0, 0.0, "constant_with_warmup", 10.0)
    wanted = job(epochs=30, evaluate_every=1, early_stopping_patience=2, optimiser=optimiser)
    result, folder = train(wanted)
    losses = {row["step"]: row["loss"] for row in result["history"] if row["split"] == "validation"}
    assert result["stopped_early"]
    assert result["best_step"] == min(losses, key=losses.get)
    assert result["steps"] == result["best_step"] + 2
    # Killed after the last checkpoint and before the result, it does not train on.
    (folder / "result.json").unlink()
    again, _ = train(wanted)
    assert again["history"] == result["history"]
    assert (again["stopped_early"], again["best_step"]) == (True, result["best_step"])


def test_zero_adapter_has_loss_log_two_where_the_reference_is_the_base(tiny_model, job, tmp_path, pairs):
    from bdpo_pipeline.cache.scoring import Item, score_through_cache
    from bdpo_pipeline.cache.store import LogprobStore

    responses = pairs.ragged["responses"]
    items = [Item(pairs.ragged["contexts"][i // 2], response) for i, response in enumerate(responses)]
    base = tiny_model("llama")
    scores = score_through_cache(
        items, base, job().compute, LogprobStore(tmp_path / "cache.sqlite"), tmp_path
    )
    reference = np.array(scores.logps).reshape(-1, 2)
    flat = pairs.flat | {"reference_chosen": reference[:, 0], "reference_rejected": reference[:, 1]}
    result, _ = run_job(job(epochs=1), tmp_path, ragged=pairs.ragged, flat=flat)
    assert result["step_0_loss"] == pytest.approx(math.log(2), abs=1e-5)


def test_a_loss_that_is_no_number_stops_with_step_and_remedy(train, job):
    optimiser = job().optimiser.__class__(1e30, 0.0, 0.0, "constant_with_warmup", 1e30)
    with pytest.raises(
        WorkerError, match=r"step 1: loss (nan|inf).*Lower training\.optimiser\.learning_rate"
    ):
        train(job(optimiser=optimiser, evaluate_every=100))


def test_where_asked_to_training_ends_at_a_loss_that_is_no_number(train, job):
    optimiser = job().optimiser.__class__(1e30, 0.0, 0.0, "constant_with_warmup", 1e30)
    result, folder = train(job(optimiser=optimiser, evaluate_every=100, ends_where_it_diverges=True))
    assert (result["diverged_at_step"], result["steps"], len(result["history"])) == (1, 1, 1)
    assert adapter(folder)
    result, _ = train(job(ends_where_it_diverges=True))
    assert (result["diverged_at_step"], result["steps"]) == (None, 8)


def test_worker_errors_reach_the_caller(train, job):
    with pytest.raises(WorkerError, match=r"no objective 'dppo'; there are: .*bdpo, .*dpo"):
        train(job(objective="dppo", options={}))


def test_failing_process_takes_the_others_down_with_its_cause(train, job):
    with pytest.raises(WorkerError, match="Target modules"):
        train(job(processes=2, lora=job().lora.__class__(4, 8, 0.0, ["no_such_module"])))


def test_killed_caller_leaves_no_worker(tiny_model, tmp_path, worker_pids):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from conftest import make_job, make_pairs\n"
        "from bdpo_pipeline.engine.launcher import run_job\n"
        "pairs = make_pairs()\n"
        "run_job(make_job(sys.argv[2], epochs=10_000, processes=2), Path(sys.argv[3]), ragged=pairs.ragged, flat=pairs.flat)\n"
    )
    arguments = [str(Path(__file__).parent), tiny_model("llama")["path"], str(tmp_path)]
    caller = subprocess.Popen([sys.executable, "-c", script, *arguments])
    try:
        wait_for(lambda: list(tmp_path.glob("train-*/checkpoint-*")), 120)
        assert worker_pids(tmp_path)
    finally:
        caller.send_signal(signal.SIGKILL)
        caller.wait()
    wait_for(lambda: not worker_pids(tmp_path), 30)


def test_interrupted_caller_leaves_no_worker(train, job, tmp_path, worker_pids):
    started = threading.Event()

    def interrupt(event):
        if event["event"] == "metrics" and not started.is_set():
            started.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(job(epochs=10_000), on_event=interrupt)
    assert started.is_set()
    assert not worker_pids(tmp_path)

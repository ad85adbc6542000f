"""What is said when a training starts from nothing beside an unfinished one."""

from dataclasses import replace
from pathlib import Path

import pytest

from bdpo_pipeline.engine.changed import differences, warn_of_unfinished
from bdpo_pipeline.engine.job_folder import Order, prepare
from bdpo_pipeline.engine.jobs import Compute, LoraSpec, OptimiserSpec, TrainJob
from bdpo_pipeline.locks import alone


def job(**changes) -> TrainJob:
    plain = TrainJob(
        model="model",
        compute=Compute(threads=1),
        objective="bdpo",
        options={"beta": 0.1},
        lora=LoraSpec(4, 8, 0.0, "all-linear"),
        optimiser=OptimiserSpec(1e-3, 0.0, 0.1, "cosine", 1.0),
        epochs=2,
        pairs_per_step=4,
        evaluate_every=2,
        early_stopping_patience=None,
        checkpoint_every=1,
        seeds={"order": 2},
    )
    return replace(plain, **changes)


def order(tokens: bytes = b"tokens", made_by: dict[str, str] | None = None, **changes) -> Order:
    made = Order.of(job(**changes), tokens)
    return replace(
        made, described=made.described | ({"made_by": made.described["made_by"] | (made_by or {})})
    )


def lay_down(scratch: Path, unfinished: Order, step: int = 12) -> Path:
    folder = scratch / unfinished.folder_name
    prepare(folder, unfinished)
    (folder / f"checkpoint-{step:08d}").mkdir()
    return folder


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"epochs": 3}, ["epochs: 2 -> 3"]),
        (
            {"optimiser": OptimiserSpec(2e-3, 0.0, 0.1, "cosine", 1.0)},
            ["optimiser.learning_rate: 0.001 -> 0.002"],
        ),
        ({"compute": Compute(threads=1, memory_gb=8.0)}, ["compute.memory_gb: None -> 8.0"]),
        ({"lora": None}, ["lora: absent -> None", "lora.r: 4 -> absent"]),
        ({"options": {}}, ["options.beta: 0.1 -> absent"]),
        ({"seeds": {"order": 7}}, ["seeds.order: 2 -> 7"]),
        ({"tokens": b"others"}, ["the pairs or their reference log-probs"]),
        ({"made_by": {"torch": "9.0"}}, ["torch: "]),
        ({"made_by": {"code": "0123"}}, ["the engine's code: "]),
    ],
)
def test_each_difference_is_named(other, words):
    found = differences(order().described, order(**other).described)
    for word in words:
        assert any(word in line for line in found), found
    allowed = len(words) if "lora" not in other else len(found)
    assert len(found) == max(allowed, 1)


def test_the_unfinished_training_that_differs_least_is_named(tmp_path, caplog):
    lay_down(tmp_path, order(epochs=9, pairs_per_step=7), 400)
    near = lay_down(tmp_path, order(epochs=3), 12)
    wanted = order()
    warn_of_unfinished(tmp_path / wanted.folder_name, wanted)
    assert len(caplog.records) == 1
    assert f"{near} holds an unfinished one, at step 12" in caplog.text
    assert "epochs: 3 -> 2" in caplog.text
    assert "Set this back to continue it" in caplog.text
    assert "compute.memory_gb" in caplog.text


def test_nothing_is_said_without_one(tmp_path, caplog):
    finished = lay_down(tmp_path, order(epochs=3))
    (finished / "result.json").write_text("{}")
    never_began = order(epochs=4)
    prepare(tmp_path / never_began.folder_name, never_began)
    goes_on = lay_down(tmp_path, order(epochs=5))
    wanted = order()
    with alone(goes_on):
        warn_of_unfinished(tmp_path / wanted.folder_name, wanted)
    assert caplog.records == []


def test_one_that_cannot_be_read_is_said_to_be_so(tmp_path, caplog):
    folder = lay_down(tmp_path, order(epochs=3))
    (folder / "job.json").write_text('{"task": "train"}')
    wanted = order()
    warn_of_unfinished(tmp_path / wanted.folder_name, wanted)
    assert f"{folder} holds an unfinished training whose job cannot be read" in caplog.text
    assert "starts from nothing" not in caplog.text


def test_the_same_order_has_the_same_folder_and_another_has_another():
    folders = {order().folder_name, order().folder_name}
    others = {
        order(epochs=3).folder_name,
        order(tokens=b"x").folder_name,
        order(made_by={"peft": "0"}).folder_name,
    }
    assert len(folders) == 1
    assert len(others | folders) == 4

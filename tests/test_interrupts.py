"""The hooks for runs that end early, without a run around them."""

import os
import shlex
import signal
import sys
import threading

import click
import pytest
from click.testing import CliRunner
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import node
from kedro_datasets.json import JSONDataset

from bdpo_pipeline.engine.events import publish
from bdpo_pipeline.engine.taken import Taken
from bdpo_pipeline.interrupts import RUNNER, FinishedJobsHook, InterruptHook, continuing_command


@pytest.fixture(autouse=True)
def _handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_a_program_of_ones_own_it_is_a_keyboard_interrupt_and_the_handlers_are_back(number):
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    hook = InterruptHook()
    hook.before_pipeline_run()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    assert {each: signal.getsignal(each) for each in before} == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_a_command_it_is_an_exit_with_the_code_of_the_signal_each_time(number):
    hook, codes = InterruptHook(), []

    @click.command("run")
    def command():
        hook.before_pipeline_run()
        for _ in range(2):
            try:
                os.kill(os.getpid(), number)
            except SystemExit as error:
                codes.append(error.code)
        hook.after_pipeline_run()

    assert CliRunner().invoke(command).exception is None
    assert codes == [128 + number] * 2


@pytest.mark.parametrize("ended", ["after_pipeline_run", "on_pipeline_error"])
def test_the_handlers_of_before_are_back_when_the_run_has_ended(ended):
    before = signal.getsignal(signal.SIGTERM)
    hook = InterruptHook()
    hook.before_pipeline_run()
    assert signal.getsignal(signal.SIGTERM) != before
    getattr(hook, ended)()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_that_is_ignored_stays_so():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hook = InterruptHook()
    hook.before_pipeline_run()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    hook.after_pipeline_run()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_in_another_thread_it_changes_nothing():
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=InterruptHook().before_pipeline_run)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.fixture
def kedro(tmp_path) -> str:
    """The script of that name."""
    path = tmp_path / "kedro"
    path.touch()
    return str(path)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["kedro", "run"], ["kedro", "run", "--runner", RUNNER]),
        (
            ["kedro", "run", "--runner", "ThreadRunner", "--env", "test"],
            ["kedro", "run", "--env", "test", "--runner", RUNNER],
        ),
        (["kedro", "run", "-r", "ThreadRunner"], ["kedro", "run", "--runner", RUNNER]),
        (["kedro", "run", "--runner=ThreadRunner"], ["kedro", "run", "--runner", RUNNER]),
        (
            ["kedro", "run", "--params", "data_root=/my data/x,a='b'"],
            ["kedro", "run", "--params", "data_root=/my data/x,a='b'", "--runner", RUNNER],
        ),
    ],
)
def test_the_command_that_continues_is_the_same_with_the_runner_of_what_is_not_done(
    monkeypatch, kedro, given, expected
):
    monkeypatch.setattr(sys, "argv", [kedro, *given[1:]])
    assert shlex.split(continuing_command("run")) == [kedro, *expected[1:]]


@pytest.mark.parametrize("script", ["/somewhere/kedro/__main__.py", "python -m kedro"])
def test_as_a_module_it_is_the_whole_command(monkeypatch, script):
    monkeypatch.setattr(sys, "argv", [script, "run"])
    monkeypatch.setattr(sys, "orig_argv", ["/bin/python", "-m", "kedro", "run"])
    assert continuing_command("run") == f"/bin/python -m kedro run --runner {RUNNER}"


def test_secrets_are_masked_and_other_commands_stay_as_they_are(monkeypatch, kedro):
    monkeypatch.setattr(sys, "argv", [kedro, "lineage", "replay", "--params", "hub_token=abc"])
    assert continuing_command("lineage") == f"{kedro} lineage replay --params hub_token=***"


def finish(folder) -> None:
    (folder / "adapter").mkdir(parents=True)
    publish({"event": "finished", "taken": Taken(folder)})


@pytest.fixture
def hook(tmp_path) -> FinishedJobsHook:
    """Of a run whose node makes an adapter and a history, both on disk, or an adapter in memory."""
    datasets = {name: JSONDataset(filepath=str(tmp_path / f"{name}.json")) for name in ("adapter", "history")}
    hook = FinishedJobsHook()
    hook.before_pipeline_run(DataCatalog(datasets={**datasets, "volatile": MemoryDataset()}))
    return hook


def test_a_finished_training_is_removed_when_all_outputs_are_saved(tmp_path, hook):
    training = node(lambda: None, None, ["adapter", "history"], name="train")
    hook.before_node_run(training)
    finish(tmp_path / "train-now")
    hook.after_dataset_saved("adapter", training)
    assert (tmp_path / "train-now").exists()
    hook.after_dataset_saved("history", training)
    assert not (tmp_path / "train-now").exists()


def test_it_stays_where_an_output_is_in_memory_or_the_node_did_not_end(tmp_path, hook):
    training = node(lambda: None, None, ["adapter", "history"], name="train")
    hook.before_node_run(training)
    finish(tmp_path / "train-failed")
    other = node(lambda: None, None, ["volatile"], name="other")
    hook.before_node_run(other)
    finish(tmp_path / "train-volatile")
    hook.after_dataset_saved("volatile", other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train-failed", "train-volatile"]

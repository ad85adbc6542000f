"""FreshRunner on small graphs, and the parts of Kedro that it rests on."""

import inspect
import itertools
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import kedro
import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset, Version
from kedro.pipeline import Pipeline, node
from kedro.runner import AbstractRunner, SequentialRunner, Task
from kedro_datasets.json import JSONDataset

from bdpo_pipeline.lineage.fresh import FreshRunner
from bdpo_pipeline.lineage.hook import LineageHook

ROOT = Path(__file__).resolve().parents[2]


def double(x):
    return 2 * x


def parity(x):
    return x % 2


def add(x, y):
    return x + y


def split(x):
    return {"handle": x}, x // 10


def use(handle, *others):
    return [handle["handle"], *others]


def gather(x, y):
    return {"handle": x + y}


def pass_on(given):
    return dict(given)


def fail_at(x, y):
    if x == y:
        raise ValueError("as asked")
    return x


def look(x):
    assert x is not None


class Toy:
    """A pipeline over JSON files, run again and again with other parameters."""

    def __init__(self, folder, caplog, pipeline, kept):
        self.folder, self._caplog, self.pipeline, self._kept = folder, caplog, pipeline, kept
        self._sessions = itertools.count()
        self.catalog = None

    def run(self, runner=None, pipeline=None, **parameters):
        """Run a session; return the nodes that ran with their reasons."""
        session = f"2026-01-01T00.00.00.{next(self._sessions):03}Z"
        self._caplog.clear()
        datasets = {f"params:{name}": MemoryDataset(value) for name, value in parameters.items()}
        for name in self._kept:
            datasets[name] = JSONDataset(
                filepath=str(self.folder / f"{name}.json"), version=Version(None, session)
            )
        self.catalog = DataCatalog(datasets)
        hooks = _create_hook_manager()
        hook = LineageHook()
        hook.after_context_created(
            SimpleNamespace(
                config_loader={"tracking": {"tracking": {"enabled": False}}}, project_path=self.folder
            )
        )
        hooks.register(hook)
        ran = pipeline or self.pipeline
        hooks.hook.before_pipeline_run(run_params={"run_id": session}, pipeline=ran, catalog=self.catalog)
        with self._caplog.at_level(logging.INFO):
            self.result = (runner or FreshRunner()).run(ran, self.catalog, hooks, session)
        return dict(re.findall(r"runs: (\S+), because (.*)", self._caplog.text))

    @property
    def text(self):
        return self._caplog.text

    def newest(self, name):
        return sorted((self.folder / f"{name}.json").iterdir())[-1] / f"{name}.json"


@pytest.fixture
def toy(tmp_path, caplog):
    return lambda nodes, *kept: Toy(tmp_path, caplog, Pipeline(nodes), kept)


CHAIN = [
    node(double, "params:a", "doubled", name="double"),
    node(parity, "doubled", "odd", name="parity"),
    node(add, ["odd", "params:b"], "sum", name="add"),
]


def test_runs_what_changed_and_says_why(toy):
    chain = toy(CHAIN, "doubled", "odd", "sum")
    assert chain.run(a=1, b=1).keys() == {"double", "parity", "add"}
    assert re.findall(r"done: (\S+), (\d) of 3 nodes", chain.text) == [
        ("double", "1"),
        ("parity", "2"),
        ("add", "3"),
    ]
    assert chain.run(a=1, b=1) == {}
    assert "0 of 3 nodes ran" in chain.text
    assert re.findall(r"fresh: (\S+) \(version", chain.text) == ["double", "parity", "add"]
    assert chain.run(a=1, b=2) == {"add": "params:b was 1 and is 2"}
    assert chain.catalog.load("sum") == 2


def test_content_decides_so_what_makes_the_same_again_ends_it(toy):
    chain = toy(CHAIN, "doubled", "odd", "sum")
    chain.run(a=1, b=1)
    assert chain.run(a=5, b=1) == {"double": "params:a was 1 and is 5", "parity": "doubled changed"}


def test_outputs_missing_altered_and_without_a_record(toy):
    chain = toy(CHAIN, "doubled", "odd", "sum")
    chain.run(a=1, b=1)
    chain.newest("odd").unlink()
    assert chain.run(a=1, b=1) == {"parity": "its output odd is missing"}
    chain.newest("doubled").write_text("3")
    assert chain.run(a=1, b=1) == {"double": "its output doubled was altered"}
    record = Path(f"{chain.newest('sum')}.lineage.json")
    record.write_text(record.read_text().replace("add", "sub"))
    assert chain.run(a=1, b=1) == {"add": "the record of its output sum was altered"}
    Path(f"{chain.newest('sum')}.lineage.json").unlink()
    assert chain.run(a=1, b=1) == {"add": "its output sum has no record of what it was made from"}
    assert chain.run(a=1, b=1) == {}


def test_several_causes_are_all_named(toy):
    chain = toy([node(add, ["params:a", "params:b"], "sum", name="add")], "sum")
    chain.run(a=1, b=1)
    chain.newest("sum").write_text("5")
    assert chain.run(a=2, b=3) == {
        "add": "params:a was 1 and is 2; params:b was 1 and is 3; its output sum was altered"
    }


def test_outputs_of_two_runs_are_made_again(toy):
    pair = toy([node(split, "params:a", ["whole", "tens"], name="split")], "whole", "tens")
    pair.run(a=10)
    pair.run(a=10, runner=SequentialRunner())
    assert pair.run(a=10) == {}
    pair.newest("tens").parent.rename(pair.folder / "lost")
    assert pair.run(a=10) == {"split": "its outputs whole, tens are not of one run"}
    assert pair.run(a=10) == {}


# `split` keeps `tens` and hands `handle` on in memory.
MIXED = [
    node(split, "params:a", ["handle", "tens"], name="split"),
    node(use, ["handle", "params:b"], "used", name="use"),
]


def test_what_is_in_memory_is_made_when_it_is_needed(toy):
    mixed = toy(MIXED, "tens", "used")
    assert mixed.run(a=10, b=1).keys() == {"split", "use"}
    assert mixed.run(a=10, b=1) == {}
    assert mixed.run(a=10, b=2) == {
        "split": "use needs handle, which is kept in memory only",
        "use": "params:b was 1 and is 2",
    }
    assert mixed.catalog.load("used") == [10, 2]
    # Another handle, but the same tens.
    assert mixed.run(a=11, b=2) == {
        "split": "params:a was 10 and is 11",
        "use": "params:a was 10 and is 11, by way of handle",
    }


def test_what_is_needed_after_what_is_yet_to_be_made(toy):
    """`join` takes from memory and from a node between: whether it runs shows only when that has run."""
    nodes = [
        node(split, "params:a", ["handle", "tens"], name="split"),
        node(add, ["tens", "params:b"], "between", name="between"),
        node(use, ["handle", "between"], "joined", name="join"),
    ]
    graph = toy(nodes, "tens", "between", "joined")
    graph.run(a=10, b=1)
    assert graph.run(a=10, b=1) == {}
    assert list(graph.run(a=10, b=2)) == ["split", "between", "join"]
    assert graph.catalog.load("joined") == [10, 3]


def test_a_node_that_keeps_nothing_waits_until_it_is_asked(toy):
    nodes = [
        node(gather, ["params:a", "params:b"], "first", name="gather"),
        node(pass_on, "first", "second", name="pass_on"),
        node(use, ["second", "params:c"], "one", name="one"),
        node(use, ["second", "params:d"], "two", name="two"),
    ]
    graph = toy(nodes, "one", "two")
    graph.run(a=1, b=2, c=3, d=4)
    assert graph.run(a=1, b=2, c=3, d=4) == {}
    assert list(graph.run(a=1, b=2, c=3, d=5)) == ["gather", "pass_on", "two"]
    # Of what is only in memory nobody knows the content before it is made: its recipe counts, though the sum is the same.
    ran = graph.run(a=2, b=1, c=3, d=5)
    assert ran.keys() == {"gather", "pass_on", "one", "two"}
    assert (
        ran["one"]
        == "params:a was 1 and is 2, by way of first, by way of second; params:b was 2 and is 1, by way of first, by way of second"
    )


def test_what_is_in_memory_is_let_go_when_nobody_needs_it(toy):
    mixed = toy(MIXED, "tens", "used")
    mixed.run(a=10, b=1)
    with pytest.raises(kedro.io.DatasetError, match="has not been saved"):
        mixed.catalog.load("handle")


def test_what_a_run_returns_is_made(toy):
    graph = toy([node(split, "params:a", ["handle", "tens"], name="split")], "tens")
    graph.run(a=10)
    assert graph.run(a=10) == {"split": "its output handle is what the run returns"}
    assert graph.result["handle"].load() == {"handle": 10}


def test_a_node_without_outputs_always_runs(toy):
    graph = toy([*CHAIN, node(look, "sum", None, name="look")], "doubled", "odd", "sum")
    graph.run(a=1, b=1)
    assert graph.run(a=1, b=1) == {"look": "it has no outputs, so nothing tells what it did"}


def test_after_a_failure_what_was_done_stays_done(toy):
    nodes = [
        node(double, "params:a", "doubled", name="double"),
        node(fail_at, ["doubled", "params:b"], "passed", name="fail_at"),
        node(parity, "passed", "odd", name="parity"),
    ]
    graph = toy(nodes, "doubled", "passed", "odd")
    with pytest.raises(ValueError, match="as asked"):
        graph.run(a=2, b=4)
    assert list(graph.run(a=2, b=5)) == ["fail_at", "parity"]


def test_of_two_arms_only_the_one_that_was_edited_runs(toy):
    arms = [Pipeline(CHAIN, namespace=arm, parameters={"params:b"}).nodes for arm in ("left", "right")]
    kept = [f"{arm}.{name}" for arm in ("left", "right") for name in ("doubled", "odd", "sum")]
    graph = toy([one for arm in arms for one in arm], *kept)
    given = {"left.a": 1, "right.a": 2, "b": 1}
    assert len(graph.run(**given)) == 6
    assert graph.run(**given) == {}
    assert graph.run(**given | {"left.a": 3}) == {
        "left.double": "params:left.a was 1 and is 3",
        "left.parity": "left.doubled changed",
    }
    assert graph.run(**given | {"left.a": 3, "b": 2}).keys() == {"left.add", "right.add"}


def test_part_of_a_pipeline(toy):
    chain = toy(CHAIN, "doubled", "odd", "sum")
    chain.run(a=1, b=1)
    later = chain.pipeline.from_nodes("add")
    assert chain.run(pipeline=later, a=5, b=1) == {}
    assert "0 of 1 nodes ran" in chain.text
    assert chain.run(a=5, b=1).keys() == {"double", "parity"}


def test_kedro_still_runs_pipelines_as_the_runner_expects():
    """`_run` and `Task` are what FreshRunner overrides and calls; a Kedro that changes them must be looked at."""
    assert f"kedro=={kedro.__version__}" in (ROOT / "constraints.txt").read_text().splitlines()
    expected = ["self", "pipeline", "catalog", "hook_manager", "run_id"]
    assert list(inspect.signature(AbstractRunner._run).parameters) == expected
    assert list(inspect.signature(SequentialRunner._run).parameters) == expected
    task = inspect.signature(Task).parameters
    assert list(task) == ["node", "catalog", "is_async", "hook_manager", "run_id", "parallel"]
    assert "self._run(" in inspect.getsource(AbstractRunner.run)
    assert "self._is_async" in inspect.getsource(AbstractRunner.__init__)

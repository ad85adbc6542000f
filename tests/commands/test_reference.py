"""`kedro reference` as a user calls it, over a store of the test environment's place."""

import json
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project

from bdpo_pipeline.cache.rows import Model
from bdpo_pipeline.cache.store import LogprobStore
from bdpo_pipeline.commands.reference import reference

ROOT = Path(__file__).resolve().parents[2]
ONE, TWO = Model("ab" * 32, "float32"), Model("cd" * 32, "bfloat16/cuda")


def keys(first: int, count: int) -> list[bytes]:
    return [(first + i).to_bytes(16, "big") for i in range(count)]


@pytest.fixture
def store(tmp_path) -> LogprobStore:
    store = LogprobStore(tmp_path / "04_reference" / "reference_cache.sqlite")
    store.put(dict.fromkeys(keys(0, 1200), -1.0), ONE)
    store.put(dict.fromkeys(keys(5000, 300), -2.0), TWO)
    store.record(ONE, requested=1200, found=0, computed=1200)
    store.record(ONE, requested=1200, found=1200, computed=0)
    return store


@pytest.fixture
def call(tmp_path):
    """`call("show", …)` calls `kedro reference show … --env test --params data_root=…`."""
    metadata = bootstrap_project(ROOT)

    def invoke(*arguments: str, answer: str | None = None) -> Result:
        options = ["--env", "test", "--params", f"data_root={tmp_path}"]
        return CliRunner().invoke(reference, [*arguments, *options], obj=metadata, input=answer)

    return invoke


def test_show_gives_size_models_and_hit_rates_in_aligned_columns(store, call):
    done = call("show")
    assert done.exit_code == 0, done.output
    assert f"1,500 log-probs, {store.path.stat().st_size:,} bytes" in done.output
    [one] = [line for line in done.output.splitlines() if line.startswith("abababababab")]
    [two] = [line for line in done.output.splitlines() if line.startswith("cdcdcdcdcdcd")]
    assert one.index("float32") == two.index("bfloat16/cuda")
    assert one.index("1,200") + 5 == two.index("300") + 3
    assert done.output.rstrip().endswith("Hit rate of all passes (2): 50.0%")


def test_show_as_json_has_everything(store, call):
    found = json.loads(call("show", "--json").output)
    assert (found["rows"], found["bytes"], found["hit_rate"]) == (1500, store.path.stat().st_size, 0.5)
    assert {(m["weights_sha256"], m["precision"], m["rows"]) for m in found["models"]} == {
        (ONE.weights_sha256, ONE.precision, 1200),
        (TWO.weights_sha256, TWO.precision, 300),
    }
    assert [(p["requested"], p["found"], p["computed"]) for p in found["passes"]] == [
        (1200, 0, 1200),
        (1200, 1200, 0),
    ]


@pytest.mark.parametrize("command", [("show",), ("check",), ("prune", "--max-rows", "1", "--yes")])
def test_without_a_cache_its_place_is_said_and_nothing_is_made(call, tmp_path, command):
    done = call(*command)
    assert done.exit_code == 1
    assert f"there is no reference cache {tmp_path}/04_reference/reference_cache.sqlite yet" in done.output
    assert list(tmp_path.iterdir()) == []


def test_check_finds_an_altered_row_and_repair_removes_it(store, call):
    assert call("check").exit_code == 0
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE logps SET logp = -3 WHERE key = ?", (keys(7, 1)[0],))
    connection.close()
    found = call("check")
    assert found.exit_code == 1
    assert f"logps: the row {keys(7, 1)[0].hex()} is not what was written" in found.output
    assert "1,499 log-probs are intact" in found.output
    repaired = call("check", "--repair")
    assert repaired.exit_code == 0, repaired.output
    assert "the 1,499 log-probs that could be read whole" in repaired.output
    assert json.loads(call("check", "--json").output)["problems"] == []
    [aside] = store.path.parent.glob("*.damaged-*")
    assert aside.stat().st_size > 0


def test_a_file_that_is_no_database_is_a_clear_error_and_can_be_put_aside(store, call):
    store.path.write_bytes(b"\0" * 10_000)
    shown = call("show")
    assert shown.exit_code == 1
    assert "is damaged" in shown.output
    assert "kedro reference check --repair" in shown.output
    assert "Traceback" not in shown.output
    assert call("check", "--repair").exit_code == 0
    assert json.loads(call("show", "--json").output)["rows"] == 0


def test_prune_says_what_would_go_asks_and_gives_the_space_back(store, call):
    size = store.path.stat().st_size
    dry = call("prune", "--model", "abab", "--dry-run")
    assert "would remove 1,200 of 1,500 log-probs" in dry.output
    assert call("prune", "--model", "abab", answer="n\n").exit_code == 1
    assert len(store) == 1500
    done = call("prune", "--model", "abab", answer="y\n")
    assert "Removed 1,200 log-probs" in done.output
    assert len(store) == 300
    assert store.path.stat().st_size < size / 2


@pytest.mark.parametrize(("size", "left"), [("0", 0), ("1GB", 1500), ("1.5 G", 1500)])
def test_sizes_are_read_with_units(store, call, size, left):
    assert call("prune", "--max-size", size, "--yes").exit_code == 0
    assert len(store) == left


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "say what may go"),
        (("--max-size", "many"), "'many' is not a size"),
        (("--model", "xyz"), "'xyz' is not the beginning of a SHA-256"),
        (("--older-than", "-1"), "x>=0"),
    ],
)
def test_what_makes_no_sense_is_refused(store, call, options, message):
    done = call("prune", *options)
    assert done.exit_code == 2
    assert message in done.output
    assert len(store) == 1500

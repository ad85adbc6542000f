"""The code of real nodes, and of callables of every kind."""

import functools
import json
import subprocess
import sys

import pytest

from bdpo_pipeline.lineage.code import Code, code_of
from bdpo_pipeline.pipeline_registry import register_pipelines
from bdpo_pipeline.seeds import derive_seed

ALL = """
import json, sys, time
from bdpo_pipeline.pipeline_registry import register_pipelines
nodes = register_pipelines()["__default__"].nodes
start = time.process_time()
from bdpo_pipeline.lineage.code import code_of
codes = [code_of([node.func]) for node in nodes]
print(json.dumps([time.process_time() - start, sorted(sys.modules)]))
"""


# Those whose code may start a worker; a judge may be a model, and judges are found by name.
WORKERS = {
    *("score_reference", "train_adapter", "score_heldout", "generate_responses", "measure_ability"),
    *("train_judges", "validate_judges", "judge_generations"),
}


@pytest.fixture(scope="module")
def codes() -> dict[str, Code]:
    return {node.name: code_of([node.func]) for node in register_pipelines()["__default__"].nodes}


def nodes_with(codes, definition):
    return {name for name, code in codes.items() if f"bdpo_pipeline.{definition}" in code.definitions}


def nodes_of(codes, package):
    return {name for name, code in codes.items() if package in code.packages}


def test_a_definition_belongs_to_the_nodes_that_use_it(codes):
    assert nodes_with(codes, "filters.near_duplicates:sign") == {"select_pairs", "gather_labelled_responses"}
    assert nodes_with(codes, "filters.selection:select_pairs") == {"select_pairs"}
    assert nodes_with(codes, "statistics.paired_tests:mcnemar_exact") == {
        "summarise_judgements",
        "summarise_ability",
    }
    assert nodes_with(codes, "statistics.intervals:clustered_mean") == {
        "measure_heldout",
        "summarise_ability",
    }
    assert nodes_with(codes, "engine.worker:main") == WORKERS
    assert nodes_with(codes, "engine.training:train") == WORKERS  # one program does all jobs
    judging = {"train_judges", "validate_judges", "judge_generations"}
    assert nodes_with(codes, "judges.refusal_phrases:RefusalPhrases") == judging
    assert nodes_with(codes, "objectives.losses.ipo:ipo") >= {
        "score_reference",
        "train_adapter",
        "score_heldout",
    }
    assert "select_pairs" not in nodes_with(codes, "objectives.losses.ipo:ipo")
    assert nodes_with(codes, "tracking.tracker:Tracker") == set()


def test_templates_belong_to_the_nodes_that_render(codes):
    name = "bdpo_pipeline/reports/templates/report.html"
    assert {node for node, code in codes.items() if name in code.definitions} == {
        "write_report",
        "write_model_card",
    }


def test_a_package_belongs_to_the_nodes_that_use_it(codes):
    assert nodes_of(codes, "rensa") == {"select_pairs", "gather_labelled_responses"}
    assert nodes_of(codes, "peft") == WORKERS
    assert nodes_of(codes, "plotly") == {"plot_comprehension", "plot_judges", "write_report"}
    assert nodes_of(codes, "mlflow") == set()
    assert nodes_of(codes, "bdpo_pipeline") == set()
    assert "pandas" in codes["summarise_judgements"].packages
    assert "torch" not in codes["summarise_judgements"].packages


def test_hash_is_that_of_all_of_it():
    code = Code({"a:b": "1"}, {"p": "2"})
    others = [Code({"a:b": "3"}, {"p": "2"}), Code({"a:c": "1"}, {"p": "2"}), Code({"a:b": "1"}, {"p": "3"})]
    assert len({one.sha256 for one in [code, *others]}) == 4
    assert code.sha256 == Code({"a:b": "1"}, {"p": "2"}).sha256


def test_data_sets_of_a_library_count_by_their_distributions():
    from kedro_datasets.pandas import ParquetDataset

    code = code_of([ParquetDataset])
    assert code.definitions == {}
    assert {"kedro", "kedro-datasets", "pandas", "pyarrow"} <= code.packages.keys()
    assert {"plotly", "torch", "mlflow", "polars"}.isdisjoint(code.packages)


def helper():
    return derive_seed(0, "")


def decorated(function):
    @functools.wraps(function)
    def inner():
        return function()

    return inner


class Callable:
    def __call__(self):
        return helper()

    def method(self):
        return helper()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (helper, "helper"),
        (decorated(helper), "helper"),
        (functools.partial(print, helper), "helper"),
        (Callable(), "Callable"),
        (Callable().method, "Callable"),
        (Callable, "Callable"),
        (lambda: helper(), "helper"),
    ],
    ids=["function", "decorated", "partial", "object", "method", "class", "lambda"],
)
def test_callables_of_every_kind(given, expected):
    definitions = code_of([given]).definitions
    assert f"{__name__}:{expected}" in definitions
    assert "bdpo_pipeline.seeds:derive_seed" in definitions


def test_what_has_no_source_is_never_the_same():
    space = {"__name__": "typed_into_a_prompt"}
    exec("def f(): return 1", space)  # noqa: S102
    assert code_of([space["f"]]).definitions.keys() == {"typed_into_a_prompt:f"}
    assert code_of([space["f"]]) != code_of([space["f"]])
    assert code_of([dict]) == code_of([dict]) == Code({}, {})


def test_an_edit_is_seen_at_once(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "edited_package"
    package.mkdir()
    (package / "__init__.py").write_text("from edited_package.other import g\ndef f(): return g()\n")
    other = package / "other.py"
    other.write_text("def g(): return 1\ndef h(): return 2\n")
    import edited_package

    first = code_of([edited_package.f])
    other.write_text("# a comment\ndef g(): return 1\ndef h(): return 3\n")
    assert code_of([edited_package.f]) == first
    other.write_text("def g(): return 10\ndef h(): return 2\n")
    changed = code_of([edited_package.f])
    assert (
        changed.definitions.keys()
        == first.definitions.keys()
        == {"edited_package:f", "edited_package.other:g"}
    )
    assert {name for name, sha256 in first.definitions.items() if changed.definitions[name] != sha256} == {
        "edited_package.other:g"
    }


def test_the_whole_chain_is_read_quickly_and_nothing_heavy_is_imported():
    seconds, modules = json.loads(subprocess.check_output([sys.executable, "-c", ALL], text=True))
    assert {"torch", "transformers", "pandas", "pyarrow", "mlflow", "plotly"}.isdisjoint(modules)
    assert seconds < 6  # 2.0 on a machine that was busy with five times as much as it has cores

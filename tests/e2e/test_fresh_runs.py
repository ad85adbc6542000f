"""Edits of a copy of the project, and exactly the nodes that FreshRunner runs after each; docs/fresh_runs.md has the table."""

import gzip
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from .fresh_project import REPORT, ROOT, SOURCE, Project
from .test_fresh_arms import ONE_ARM

ALL = f"""ingest_preferences accept_preferences ingest_evaluation_prompts prepare_base_model select_pairs tokenise_pairs score_reference
gather_labelled_responses train_judges validate_judges plot_judges compute_comprehension plot_comprehension train_adapter
score_heldout measure_heldout generate_responses judge_generations summarise_judgements measure_ability summarise_ability {REPORT}"""
NODES = len(ALL.split())


@dataclass(frozen=True)
class Edit:
    """An edit, how it is made, which nodes are to run, and the reason of the first of them."""

    what: str
    make: Callable[[Project], None]
    runs: str
    because: str = ""
    arguments: tuple[str, ...] = ()
    env: str = "test"
    path: str | None = None


def _replace(path: str, old: str, new: str) -> Callable[[Project], None]:
    return lambda project: project.replace(path, old, new)


def _nothing(project: Project) -> None:
    """Leave all as it is."""


def _rewrite_gzip(project: Project) -> None:
    """The same rows in other bytes."""
    path = project.folder / "data/01_raw/pku-saferlhf-sample/test.jsonl.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1))


def _alter_a_byte(project: Project) -> None:
    path = project.newest("03_primary/dropped_pairs.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _newer_rensa(project: Project) -> None:
    info = project.folder / "newer" / "rensa-0.5.99.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rensa\nVersion: 0.5.99\n")


EDITS = [
    Edit("nothing", _nothing, ""),
    Edit(
        "a comment",
        _replace(
            f"{SOURCE}/filters/text.py", "    folded =", "    # Compatibility form first.\n    folded ="
        ),
        "",
    ),
    Edit(
        "a docstring",
        _replace(f"{SOURCE}/filters/text.py", '"""Return a 64-bit key', '"""Give a 64-bit key'),
        "",
    ),
    Edit(
        "a new function that nobody uses",
        lambda p: p.append(f"{SOURCE}/filters/text.py", "\n\ndef unused() -> None: ...\n"),
        "",
    ),
    Edit(
        "a helper function, several calls below a node",
        _replace(f"{SOURCE}/filters/text.py", "digest_size=8).digest()", "digest_size=8).digest()[:8]"),
        "select_pairs gather_labelled_responses",
        "bdpo_pipeline.filters.text:hash_text changed",
    ),
    Edit(
        "a function beside those of other nodes",
        _replace(f"{SOURCE}/pipelines/evaluation/nodes.py", "[:3] or", "[:4] or"),
        "summarise_judgements",
        "bdpo_pipeline.pipelines.evaluation.nodes:_positive_by_model changed",
    ),
    Edit(
        "a constant that a constant is made of",
        _replace(f"{SOURCE}/judges/refusal_phrases.py", "|must refuse)", "|must refuse|must really refuse)"),
        "train_judges validate_judges judge_generations",
        "bdpo_pipeline.judges.refusal_phrases:_WILL_NOT changed",
    ),
    Edit(
        "a bound in the class of a parameter group",
        _replace(f"{SOURCE}/pipelines/evaluation/parameters.py", "Field(ge=100,", "Field(ge=99,"),
        "measure_heldout",
        "bdpo_pipeline.pipelines.evaluation.parameters:HeldoutMetricsParameters changed",
    ),
    Edit(
        "an objective that is not in use: objectives are found by name, so all who may look one up",
        _replace(f"{SOURCE}/objectives/losses/ipo.py", ") ** 2", ") ** 2.0"),
        "train_judges validate_judges score_reference compute_comprehension plot_comprehension train_adapter score_heldout "
        f"generate_responses judge_generations measure_ability {REPORT}",
        "bdpo_pipeline.objectives.losses.ipo:ipo changed",
    ),
    Edit(
        "the training loop: one program does all that workers do",
        _replace(
            f"{SOURCE}/engine/training.py",
            "training, validation = data.training, data.validation",
            "validation, training = data.validation, data.training",
        ),
        "train_judges validate_judges score_reference train_adapter score_heldout generate_responses judge_generations "
        f"measure_ability {REPORT}",
        "bdpo_pipeline.engine.training:train changed",
    ),
    Edit(
        "a template of the report",
        lambda p: p.append(f"{SOURCE}/reports/templates/report.html", "\n<!-- edited -->\n"),
        REPORT,
        "write_model_card needs run_artifacts, which is kept in memory only",
    ),
    Edit(
        "a parameter of one node; the report shows all parameters",
        _replace(
            "conf/base/parameters_reference.yml", "max_truncated_share: 0.01", "max_truncated_share: 0.02"
        ),
        f"tokenise_pairs {REPORT}",
        "params:tokenisation.max_truncated_share was 0.01 and is 0.02",
    ),
    Edit(
        "a parameter that three nodes take",
        _replace("conf/base/parameters_ingestion.yml", "max_row_bytes: 1000000", "max_row_bytes: 1000001"),
        f"ingest_preferences accept_preferences ingest_evaluation_prompts {REPORT}",
        "params:ingestion.max_row_bytes was 1000000 and is 1000001",
    ),
    Edit(
        "a parameter on the command line",
        _nothing,
        REPORT,
        "",
        arguments=("--params", "reporting.title=Another"),
    ),
    Edit(
        "another environment, which has another title",
        _replace("conf/other/parameters_reporting.yml", "reporting:", "reporting:\n  title: Another"),
        REPORT,
        "",
        env="other",
    ),
    Edit(
        "a raw file of pairs, same rows in other bytes",
        _rewrite_gzip,
        f"ingest_preferences accept_preferences ingest_evaluation_prompts {REPORT}",
        "file raw data pku-saferlhf-sample/test.jsonl.gz changed",
    ),
    Edit(
        "a raw file of prompts",
        lambda p: p.append("data/01_raw/strongreject/strongreject_dataset.csv", "\n"),
        "ingest_evaluation_prompts",
        "file raw data strongreject/strongreject_dataset.csv changed",
    ),
    Edit(
        "a raw file that is not used",
        lambda p: p.append("data/01_raw/strongreject/NOTICE.md", "\n"),
        "",
    ),
    Edit(
        "the version of a package",
        _newer_rensa,
        "select_pairs gather_labelled_responses",
        "package rensa was",
        path="newer",
    ),
    Edit(
        "how an output is saved",
        _replace(
            "conf/base/catalog_filtering.yml",
            "save_args: {index: false}",
            'save_args: {index: false, lineterminator: "\\n"}',
        ),
        "select_pairs",
        "data set filtering_funnel.save_args",
    ),
    Edit(
        "an output deleted",
        lambda p: shutil.rmtree(p.newest("08_reporting/chosen_share.json").parent),
        "plot_comprehension",
        "its output chosen_share is missing",
    ),
    Edit(
        "a byte of an output altered", _alter_a_byte, "select_pairs", "its output dropped_pairs was altered"
    ),
]


def test_the_first_fresh_run_runs_all(first_fresh_run):
    assert first_fresh_run.status == 0, first_fresh_run.output[-4000:]
    assert first_fresh_run.ran.keys() == set(ALL.split())
    assert f"{NODES} of {NODES} nodes ran" in first_fresh_run.output
    assert first_fresh_run.ran["select_pairs"].startswith("its output training_pairs is missing")


@pytest.mark.parametrize("edit", EDITS, ids=[edit.what.partition(":")[0].replace(" ", "_") for edit in EDITS])
def test_exactly_the_right_nodes_run(edited, edit):
    edit.make(edited)
    path = edited.folder / edit.path if edit.path else None
    run = edited.run(*edit.arguments, env=edit.env, path=path)
    assert run.status == 0, run.output[-4000:]
    assert run.ran.keys() == set(edit.runs.split())
    assert edit.because in next(iter(run.ran.values()), "")
    assert f"{len(run.ran)} of {NODES} nodes ran" in run.output
    in_memory = {"gather_artifacts"}
    assert set(run.fresh) == set(ALL.split()) - run.ran.keys() - in_memory


def test_the_table_in_the_documentation_is_this_one():
    text = (ROOT / "docs" / "fresh_runs.md").read_text()
    rows = [
        (cells[1].strip(), cells[2].strip())
        for line in text.splitlines()
        if len(cells := line.split("|")) == 4
    ]
    described = [(edit.what, _described(edit.runs)) for edit in EDITS]
    described.append(("a parameter of one arm of two", _described(ONE_ARM)))
    assert [row for row in rows if row[0] in dict(described)] == described


def _described(runs: str) -> str:
    names = runs.removesuffix(REPORT).split()
    parts = [*(f"`{name}`" for name in names), *(["report"] if runs.endswith(REPORT) else [])]
    return ", ".join(parts) or "nothing"

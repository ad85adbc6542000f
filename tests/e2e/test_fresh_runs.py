"""Edits of a copy of the project, and exactly the nodes that FreshRunner runs after each; docs/fresh_runs.md has the table."""

import gzip
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNNER = "bdpo_pipeline.lineage.fresh.FreshRunner"
SOURCE = "src/bdpo_pipeline"
REPORT = "gather_artifacts write_model_card write_report"
ALL = f"""ingest_preferences accept_preferences ingest_evaluation_prompts prepare_base_model select_pairs tokenise_pairs score_reference
compute_comprehension plot_comprehension train_adapter score_heldout measure_heldout generate_responses judge_generations
summarise_judgements {REPORT}"""


@dataclass(frozen=True)
class Run:
    """A finished run: its exit status, its output, and which nodes ran for which reason."""

    status: int
    output: str

    @property
    def ran(self) -> dict[str, str]:
        return dict(re.findall(r"runs: (\S+), because (.*)", self.output))

    @property
    def fresh(self) -> list[str]:
        return re.findall(r"fresh: (\S+) \(", self.output)


@dataclass
class Project:
    """A copy of the project, with a process that runs Kedro in it."""

    folder: Path
    _process: "subprocess.Popen[str]" = field(repr=False)

    def run(self, *arguments: str, env: str = "test", runner: str = RUNNER, path: Path | None = None) -> Run:
        log = self.folder / "output"
        log.write_text("")
        asked = {
            "arguments": ["run", "--env", env, "--runner", runner, *arguments],
            "path": str(path) if path else None,
        }
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        return Run(status, log.read_text())

    def replace(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
        file.write_text(text.replace(old, new))

    def append(self, path: str, text: str) -> None:
        with (self.folder / path).open("a") as file:
            file.write(text)

    def newest(self, path: str) -> Path:
        """The file or folder of the newest version of an artifact."""
        place = self.folder / "data" / "test" / path
        versions = sorted(place.iterdir())
        return versions[-1] / place.name


def copy_of_the_project(folder: Path) -> None:
    for part in ("src", "conf", "data/01_raw"):
        shutil.copytree(
            ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    for part in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / part, folder / part)
    # Small, as what matters here is which nodes run; runs are tracked in a test of its own.
    (folder / "conf" / "test" / "tracking.yml").write_text("tracking: {enabled: false}\n")
    (folder / "conf" / "test" / "parameters_generation.yml").write_text(
        "generation: {prompts: {strongreject: 2, xstest: 2}, max_new_tokens: 4}\n"
    )
    (folder / "conf" / "test" / "parameters_evaluation.yml").write_text(
        "heldout_metrics: {resamples: 100, minimum_category_pairs: 2}\n"
    )
    shutil.copytree(folder / "conf" / "test", folder / "conf" / "other")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("fresh") / "project"
    folder.mkdir()
    copy_of_the_project(folder)
    # Opened to append, so that the file can be emptied between runs.
    with (folder / "output").open("a") as output:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fork_server.py"))],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
        yield Project(folder, process)
    process.stdin.close()
    process.wait()


@pytest.fixture(scope="module")
def first_run(project) -> Run:
    return project.run()


@pytest.fixture
def edited(project, first_run) -> Iterator[Project]:
    """The project as it was after the first run, and again when the test is over."""
    assert first_run.status == 0, first_run.output[-4000:]
    kept = project.folder.with_name("kept")
    if not kept.exists():
        shutil.copytree(project.folder, kept)
    yield project
    for part in ("src", "conf", "data"):
        shutil.rmtree(project.folder / part)
        shutil.copytree(kept / part, project.folder / part)


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
        "select_pairs",
        "bdpo_pipeline.filters.text:hash_text changed",
    ),
    Edit(
        "a function beside those of other nodes",
        _replace(f"{SOURCE}/pipelines/evaluation/nodes.py", "[:3] or", "[:4] or"),
        "summarise_judgements",
        "bdpo_pipeline.pipelines.evaluation.nodes:_refused_by_model changed",
    ),
    Edit(
        "a constant that a constant is made of",
        _replace(f"{SOURCE}/judges/refusal_phrases.py", "|must refuse)", "|must refuse|must really refuse)"),
        "judge_generations",
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
        f"score_reference compute_comprehension plot_comprehension train_adapter score_heldout generate_responses {REPORT}",
        "bdpo_pipeline.objectives.losses.ipo:ipo changed",
    ),
    Edit(
        "the training loop: one program does all that workers do",
        _replace(
            f"{SOURCE}/engine/training.py",
            "training, validation = data.training, data.validation",
            "validation, training = data.validation, data.training",
        ),
        f"score_reference train_adapter score_heldout generate_responses {REPORT}",
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
        f"ingest_preferences accept_preferences {REPORT}",
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
        "select_pairs",
        'package rensa was "0.5.2" and is "0.5.99"',
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


def test_the_first_run_runs_all(first_run):
    assert first_run.status == 0, first_run.output[-4000:]
    assert first_run.ran.keys() == set(ALL.split())
    assert "18 of 18 nodes ran" in first_run.output
    assert first_run.ran["select_pairs"].startswith("its output training_pairs is missing")


@pytest.mark.parametrize("edit", EDITS, ids=[edit.what.partition(":")[0].replace(" ", "_") for edit in EDITS])
def test_exactly_the_right_nodes_run(edited, edit):
    edit.make(edited)
    path = edited.folder / edit.path if edit.path else None
    run = edited.run(*edit.arguments, env=edit.env, path=path)
    assert run.status == 0, run.output[-4000:]
    assert run.ran.keys() == set(edit.runs.split())
    assert edit.because in next(iter(run.ran.values()), "")
    assert f"{len(run.ran)} of 18 nodes ran" in run.output
    in_memory = {"gather_artifacts"}
    assert set(run.fresh) == set(ALL.split()) - run.ran.keys() - in_memory


def test_the_table_in_the_documentation_is_this_one():
    text = (ROOT / "docs" / "fresh_runs.md").read_text()
    rows = [
        (cells[1].strip(), cells[2].strip())
        for line in text.splitlines()
        if len(cells := line.split("|")) == 4
    ]
    described = [(edit.what, _described(edit.runs)) for edit in [*EDITS, ARM]]
    assert [row for row in rows if row[0] in dict(described)] == described


def _described(runs: str) -> str:
    names = runs.removesuffix(REPORT).split()
    parts = [*(f"`{name}`" for name in names), *(["report"] if runs.endswith(REPORT) else [])]
    return ", ".join(parts) or "nothing"


def test_part_of_the_chain_as_it_is_asked_for(edited):
    edited.replace(
        "conf/base/parameters_reference.yml", "max_truncated_share: 0.01", "max_truncated_share: 0.02"
    )
    judging = edited.run("--from-nodes", "judge_generations", "--to-nodes", "summarise_judgements")
    assert (judging.ran, judging.fresh) == ({}, ["judge_generations", "summarise_judgements"])
    tagged = edited.run("--tags", "reference")
    assert tagged.ran.keys() == {"tokenise_pairs"}
    assert edited.run("--pipelines", "reference").ran == {}
    assert edited.run().ran.keys() == set(REPORT.split())


def test_after_a_failed_run_what_was_done_stays_done(edited):
    edited.replace(
        "conf/base/parameters_reference.yml", "max_truncated_share: 0.01", "max_truncated_share: 0.02"
    )
    edited.replace(f"{SOURCE}/judges/refusal_phrases.py", "|must refuse)", "|must refuse|must really refuse)")
    page = edited.folder / SOURCE / "pipelines/reporting/nodes.py"
    kept = page.read_text()
    page.write_text(
        kept.replace(
            "    return render_report(",
            "    raise RuntimeError('the printer burns')\n    return render_report(",
        )
    )
    failed = edited.run()
    assert failed.status != 0
    assert failed.ran.keys() == {"tokenise_pairs", "judge_generations", *REPORT.split()}
    page.write_text(kept)
    assert edited.run().ran.keys() == {"gather_artifacts", "write_report"}
    assert edited.run().ran == {}


def test_a_run_with_nothing_to_do_is_tracked_and_ends_well(edited):
    import mlflow

    (edited.folder / "conf" / "test" / "tracking.yml").write_text("tracking: {enabled: true}\n")
    run = edited.run()
    assert (run.status, run.ran) == (0, {}), run.output[-4000:]
    store = mlflow.tracking.MlflowClient(f"sqlite:///{edited.folder}/data/test/mlflow.db")
    experiments = [one.experiment_id for one in store.search_experiments()]
    tracked = store.search_runs(experiments)
    assert [one.info.status for one in tracked] == ["FINISHED"]


ARM = Edit("a parameter of one arm of two", _nothing, "right.select_pairs right.tokenise_pairs")
_ARMS = """

def _arms() -> Pipeline:
    nodes = [*filtering.create_pipeline().nodes, *reference.create_pipeline().only_nodes("tokenise_pairs").nodes]
    shared = {"preference_pairs", "evaluation_prompts", "base_model"}
    arms = [Pipeline(nodes, namespace=arm, inputs=shared, parameters={"params:seed"}) for arm in ("left", "right")]
    return sum(arms, Pipeline([]))
"""
_ARMS_CATALOG = """
"{arm}.{split}_pairs":
  type: bdpo_pipeline.io.parquet_dataset.StreamedParquetDataset
  filepath: ${globals:data_root}/arms/{arm}/{split}_pairs.parquet
  schema: pairs
  versioned: true
"{arm}.dropped_pairs":
  type: bdpo_pipeline.io.parquet_dataset.StreamedParquetDataset
  filepath: ${globals:data_root}/arms/{arm}/dropped_pairs.parquet
  schema: dropped_pairs
  versioned: true
"{arm}.tokenised_pairs":
  type: pandas.ParquetDataset
  filepath: ${globals:data_root}/arms/{arm}/tokenised_pairs.parquet
  versioned: true
"{arm}.filtering_funnel":
  type: pandas.CSVDataset
  filepath: ${globals:data_root}/arms/{arm}/filtering_funnel.csv
  versioned: true
"""


def test_of_two_arms_only_the_edited_one_runs(edited):
    registry = f"{SOURCE}/pipeline_registry.py"
    edited.append(registry, _ARMS)
    edited.replace(
        registry, '        "base_model": base', '        "arms": _arms(),\n        "base_model": base'
    )
    (edited.folder / "conf/test/catalog_arms.yml").write_text(_ARMS_CATALOG)
    arms = {arm: _arm_parameters(edited.folder / "conf") for arm in ("left", "right")}
    parameters = edited.folder / "conf/test/parameters_arms.yml"
    parameters.write_text(json.dumps(arms))
    both = {f"{arm}.{name}" for arm in arms for name in ("select_pairs", "tokenise_pairs")}
    first = edited.run("--pipelines", "arms")
    assert first.status == 0, first.output[-4000:]
    assert first.ran.keys() == both
    assert edited.run("--pipelines", "arms").ran == {}
    arms["right"]["filtering"]["train"]["max_pairs"] -= 2
    parameters.write_text(json.dumps(arms))
    again = edited.run("--pipelines", "arms")
    assert again.ran.keys() == set(ARM.runs.split())
    assert again.ran["right.select_pairs"].startswith("params:right.filtering.train.max_pairs was")
    edited.replace(f"{SOURCE}/filters/text.py", "digest_size=8).digest()", "digest_size=8).digest()[:8]")
    assert edited.run("--pipelines", "arms").ran.keys() == {"left.select_pairs", "right.select_pairs"}


def _arm_parameters(conf: Path) -> dict[str, object]:
    from omegaconf import OmegaConf

    files = [
        conf / env / f"parameters_{name}.yml"
        for name in ("filtering", "reference")
        for env in ("base", "test")
    ]
    merged = OmegaConf.merge(*(OmegaConf.load(file) for file in files if file.exists()))
    whole = OmegaConf.to_container(merged)
    return {name: whole[name] for name in ("filtering", "tokenisation")}

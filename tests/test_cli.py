"""What a user meets on the command line."""

import json
import os
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bdpo_pipeline.hooks import UnknownParameterError, check_names


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_listing_the_pipelines_takes_less_than_a_second_of_cpu(tmp_path: Path) -> None:
    # A second of a core that lists those of an empty project in 0.65 s. A core that is shared at the moment is slower, for both.
    empty = tmp_path / "empty"
    (empty / "src" / "empty").mkdir(parents=True)
    ours = Path(__file__).parents[1]
    kedro = tomllib.loads((ours / "pyproject.toml").read_text())["tool"]["kedro"]
    settings = {**kedro, "package_name": "empty", "project_name": "empty", "source_dir": "src"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items() if isinstance(value, str)]
    (empty / "pyproject.toml").write_text("\n".join(["[tool.kedro]", *lines]))
    for name, text in (
        ("__init__", ""),
        ("settings", ""),
        ("pipeline_registry", "def register_pipelines(): return {}"),
    ):
        (empty / "src" / "empty" / f"{name}.py").write_text(text)
    command = [str(Path(sys.executable).with_name("kedro")), "registry", "list"]
    # Compiled once, as at a user's, even where the suite runs without bytecode.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path)

    def seconds(project: Path) -> float:
        before = children_seconds()
        output = subprocess.check_output(command, cwd=project, text=True, env=environment)
        assert ("- training" in output) == (project == ours)
        return children_seconds() - before

    taken = [(seconds(ours), seconds(empty)) for _ in range(5)]
    fastest = [min(column) for column in zip(*taken, strict=True)]
    assert fastest[0] < max(1.0, fastest[1] / 0.65), taken


def test_the_whole_chain_of_the_test_environment_takes_less_than_90_seconds(chain) -> None:
    # CPU time, because other processes may share the machine. Half of it is seven workers that start.
    assert chain.cpu_seconds < 90, f"{chain.seconds:.1f} s of wall time"


@pytest.mark.parametrize(
    ("parameter", "named"),
    [
        ("training.lerning_rate=1", "lerning_rate"),
        ("compute.dtyp=bfloat16", "dtyp"),
        ("trainin.epochs=3", "Did you mean 'training'?"),
        ("data_rot=elsewhere", "Did you mean 'data_root'?"),
    ],
)
def test_a_misspelt_parameter_stops_before_any_node(run_kedro, tmp_path, parameter: str, named: str) -> None:
    done = run_kedro("run", "--env", "test", "--params", f"data_root={tmp_path},{parameter}")
    assert done.returncode != 0
    assert named in done.stdout
    assert "Running node" not in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("training:\n  optimiser:\n    lerning_rate: 0.1\n", "lerning_rate"),
        ("trainin:\n  epochs: 3\n", "Did you mean 'training'?"),
    ],
)
def test_a_misspelt_name_in_a_file_stops_before_any_node(
    run_kedro, tmp_path, content: str, named: str
) -> None:
    root = Path(__file__).parents[1]
    conf = tmp_path / "conf"
    conf.mkdir()
    for part in ("base", "logging.yml"):
        (conf / part).symlink_to(root / "conf" / part)
    (conf / "mine").mkdir()
    (conf / "mine" / "parameters.yml").write_text(content)
    data = tmp_path / "data"
    done = run_kedro("run", "--conf-source", str(conf), "--env", "mine", "--params", f"data_root={data}")
    assert done.returncode != 0
    assert named in done.stdout
    assert "Running node" not in done.stdout
    assert not data.exists()


def test_known_names_pass_and_unknown_ones_without_a_likeness_list_what_is_known() -> None:
    check_names({"training": {}, "seed": 1}, {"training", "seed", "compute"})
    with pytest.raises(UnknownParameterError, match=r"'zzz'.*Known: seed, training\.$"):
        check_names({"zzz": 1}, {"training", "seed"})

"""Configuration files that cannot be used are named, with the line and what is accepted; none unfolds without bound."""

import itertools
from collections import Counter
from pathlib import Path

import pytest

from bdpo_pipeline.io.config_loader import ConfigFileError, ProjectConfigLoader, check_file
from bdpo_pipeline.parameters import ParameterGroup

ROOT = Path(__file__).resolve().parents[2]
LAUGHS = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: \xff", "is not UTF-8 at byte 3; save the file as UTF-8"),
        (b"a: [1\n", "is not YAML: .*line 1.*mend that line"),
        (b"\ta: 1\n", "is not YAML: .*line 1"),
        (b"a: 1\na: 2\n", "line 2: 'a' is given twice"),
        (b"- 1\n", "line 1: no name with a value; accepted: names with values"),
        (b"1: 2\n", "line 1: YAML does not take the name '1' for a text; put it in quotes"),
        (b"? [1]\n: 2\n", "line 1: a list, mapping or alias stands for a name"),
        (b"a: !!python/object:os.system x\n", "line 1: found the tag .*accepted: plain values"),
        (b"a: 1\n---\nb: 2\n", "line 2: a second document begins"),
        (b"a: *b\n", r"line 1: \*b names nothing that ends before it"),
        (b"a: &a [*a]\n", r"line 1: \*a names nothing that ends before it"),
        (LAUGHS.encode(), r"line \d+: more than 100,000 values with aliases unfolded"),
        (b"a: " + b"[" * 60 + b"]" * 60, r"line 1: more than .*more than 50 levels"),
        (b"a: " + b"x" * 1_000_001, "has 1,000,004 bytes; accepted: 1,000,000 at most"),
    ],
)
def test_file_that_cannot_be_used_is_named(tmp_path, content, message):
    path = tmp_path / "parameters_x.yml"
    path.write_bytes(content)
    with pytest.raises(ConfigFileError, match=f"parameters_x.yml,? ?{message}"):
        check_file(path)


def test_own_files_can_be_used():
    files = list((ROOT / "conf").rglob("*.yml"))
    assert len(files) > 10
    assert [check_file(path) for path in files] == [None] * len(files)


@pytest.mark.parametrize("value", ["${nowhere}", "${oc.env:HOME}", "${x"])
def test_value_that_cannot_be_put_together_is_named_with_its_file(tmp_path, value):
    (tmp_path / "base").mkdir()
    (tmp_path / "local").mkdir()
    (tmp_path / "base" / "parameters_x.yml").write_text(f"group:\n  a: '{value}'\n")
    (tmp_path / "base" / "parameters_y.yml").write_text("other: 1\n")
    loader = ProjectConfigLoader(conf_source=str(tmp_path), base_env="base", default_run_env="local")
    with pytest.raises(ConfigFileError, match=r"^\S*parameters_x.yml: .*mend that value"):
        loader["parameters"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, 1e300])
def test_number_that_nothing_can_be_computed_with_is_refused(value):
    class Group(ParameterGroup):
        number: float | int

    assert Group(number=3).number == 3
    with pytest.raises(ValueError, match="number"):
        Group(number=value)


def test_mutated_parameter_files_are_read_or_refused(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        from fuzzing.cases import run
        from fuzzing.settings import parameter_cases

        found = Counter(run(case, tmp_path).how for case in itertools.islice(parameter_cases(5), 150))
    assert found.total() == 150
    assert set(found) == {"read", "refused"}

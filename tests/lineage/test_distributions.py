"""Distributions behind imported modules, on a path of made-up distributions beside the real ones."""

import sys
from importlib import metadata

import pytest

from bdpo_pipeline.lineage.distributions import distributions_of


@pytest.fixture
def install(tmp_path, monkeypatch):
    """`install("name", "1.0", "other; python_version > '3'", modules="name")` on a folder that comes first on the path."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, version, *requires, modules=None, folder=tmp_path):
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        (info / "METADATA").write_text(
            "\n".join([*lines, *(f"Requires-Dist: {text}" for text in requires)]) + "\n"
        )
        (info / "top_level.txt").write_text(f"{modules or name}\n")

    return write


@pytest.fixture(autouse=True)
def _other_path(monkeypatch, tmp_path):
    # Distributions are looked for once for each path.
    monkeypatch.setattr(sys, "path", [str(tmp_path / "another"), *sys.path])


def test_all_that_is_required_in_turn_and_nothing_else(install):
    install("first", "1", "second>=1", "fourth; extra == 'more'", "absent", modules="one")
    install("second", "2", "third[more]", "fifth; python_version < '3'", modules="two")
    install("third", "3", "sixth; extra == 'more'", "seventh; extra == 'less'", modules="three")
    for name in ("fourth", "fifth", "sixth", "seventh"):
        install(name, "0")
    assert distributions_of(["one"], {}) == {"first": "1", "second": "2", "sixth": "0", "third": "3"}
    assert distributions_of(["one"], {"one": {"more"}}).keys() == {
        "first",
        "second",
        "third",
        "fourth",
        "sixth",
    }
    assert distributions_of(["two"], {}) == {"second": "2", "sixth": "0", "third": "3"}


def test_distributions_that_require_each_other_end(install):
    install("hen", "1", "egg")
    install("egg", "2", "Hen")
    assert distributions_of(["egg"], {}) == {"egg": "2", "hen": "1"}


def test_what_has_no_distribution(install):
    assert distributions_of(["json", "os", "there_is_no_such_module"], {}) == {}


def test_a_name_is_one_however_it_is_written(install):
    install("With.Dots_and-such", "1", modules="w")
    install("user-of-it", "1", "with-dots-AND-such", modules="u")
    assert distributions_of(["u"], {}) == {"user-of-it": "1", "With.Dots_and-such": "1"}


def test_the_first_on_the_path_is_what_is_imported(install, tmp_path, monkeypatch):
    before = distributions_of(["yaml"], {})
    assert before == {"PyYAML": metadata.version("PyYAML")}
    install("PyYAML", "999", folder=tmp_path / "newer", modules="yaml")
    monkeypatch.syspath_prepend(tmp_path / "newer")
    assert distributions_of(["yaml"], {}) == {"PyYAML": "999"}

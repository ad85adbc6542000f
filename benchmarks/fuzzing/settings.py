"""Mutated parameter files, read by the project's config loader and checked by the types of its parameter groups."""

# ruff: noqa: ARG001 (all mutations are called alike)

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from fuzzing.cases import Case
from fuzzing.judge import Outcome, Violation, judge
from fuzzing.mutations import TEXT, Mutation
from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "conf" / "base"
_VALUES = (
    ".nan", ".inf", "-.inf", "-1", "0", "1.0e+400", "9" * 400, "1.5", "yes", "null", "~", "''", "' '", "[]", "{}", "[1, [2, [3]]]",
    "{a: {b: {c: d}}}", "2020-01-01", "12:30:45", "0x1F", "0o17", "1_000", "!!python/object/apply:os.system [ls]", "!!binary aGk=",
    "&a [*a]", "*nowhere", "${nowhere}", "${globals:nowhere}", "${oc.env:HOME}", "${runtime_params:x", "|\n    text", ">-",
    "\t1", "@x", "`x`", "%x", "x: y: z", "- 1", "# nothing", '"\\ud800"', '"\\x00"', "x" * 200_000, "\u202e", "\u2028", "NaN", "1e5",
    "1E5", "True", "TRUE", "on", "[1, 2", "{a: 1", '"open', "'open", "? x", "<<: *x", "1 2 3", "../../etc/passwd", "/dev/zero", "\0",
)  # fmt: skip


def _value(rng: Random, text: str) -> str:
    """Give one name another value."""
    lines = text.splitlines(keepends=True)
    places = [i for i, line in enumerate(lines) if ":" in line and not line.lstrip().startswith("#")]
    if places:
        i = rng.choice(places)
        lines[i] = lines[i].split(":")[0] + ": " + rng.choice(_VALUES) + "\n"
    return "".join(lines)


def _name(rng: Random, text: str) -> str:
    """Misspell one name, or replace it."""
    lines = text.splitlines(keepends=True)
    places = [i for i, line in enumerate(lines) if ":" in line and not line.lstrip().startswith("#")]
    if places:
        i = rng.choice(places)
        before, _, after = lines[i].partition(":")
        indent, name = before[: len(before) - len(before.lstrip())], before.strip()
        other = rng.choice(
            (
                name[:-1],
                name + "s",
                name.upper(),
                "1",
                "null",
                "true",
                "? [a]",
                "",
                "*a",
                "x" * 5_000,
                "a.b",
                "<<",
                "__class__",
            )
        )
        lines[i] = f"{indent}{other}:{after}"
    return "".join(lines)


def _twice(rng: Random, text: str) -> str:
    """Give a line, or all lines, twice."""
    lines = text.splitlines(keepends=True)
    i = rng.randrange(len(lines))
    return rng.choice((text + text, "".join([*lines[: i + 1], *lines[i:]])))


def _indent(rng: Random, text: str) -> str:
    """Indent a line otherwise, with tabs too."""
    lines = text.splitlines(keepends=True)
    i = rng.randrange(len(lines))
    lines[i] = rng.choice(("\t", " ", "   ", "\u00a0")) + lines[i]
    return "".join(lines)


def _laughs(rng: Random, text: str) -> str:
    """Aliases of aliases, which unfold to 10^9 values."""
    layers = [
        "a0: &a0 [1,1,1,1,1,1,1,1,1,1]",
        *(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)),
    ]
    return "\n".join(layers) + "\n" + text


def _deep(rng: Random, text: str) -> str:
    """Lists or mappings, nested deeply."""
    depth = rng.choice((60, 900, 20_000))
    return (
        text
        + rng.choice(("deep: " + "[" * depth + "]" * depth, "deep: " + "{a: " * depth + "1" + "}" * depth))
        + "\n"
    )


def _other_root(rng: Random, text: str) -> str:
    """Something else than names with values."""
    return rng.choice(
        (
            "- 1\n",
            "text\n",
            "3\n",
            "---\n" + text + "---\na: 1\n",
            "[]",
            "null",
            "",
            "{}",
            "%YAML 9.9\n---\n" + text,
        )
    )


_STRUCTURE: dict[str, Callable[[Random, str], str]] = {
    "value of another kind": _value,
    "misspelt name": _name,
    "given twice": _twice,
    "indented otherwise": _indent,
    "aliases of aliases": _laughs,
    "nested deeply": _deep,
    "another root": _other_root,
}


def parameter_cases(seed: int) -> Iterator[Case]:
    """Yield parameter files without end: ``conf/base/parameters_*.yml`` and ``globals.yml`` in turn."""
    files = [BASE / "globals.yml", *sorted(BASE.glob("parameters_*.yml"))]
    texts = {path.name: path.read_text(encoding="utf-8") for path in files}
    number = 0
    while True:
        for name, text in texts.items():
            rng = Random(f"{seed}/parameters/{number}")
            number += 1
            mutation, content = _mutate(rng, text, rng.choice(list(texts.values())))
            yield Case(f"parameters {name}", mutation, name, content, judge_parameters)


def _mutate(rng: Random, text: str, other: str) -> tuple[str, bytes]:
    if rng.random() < 0.75:
        names = [
            rng.choice((*_STRUCTURE, *["value of another kind"] * 6, *["misspelt name"] * 2))
            for _ in range(rng.choice((1, 1, 2)))
        ]
        for name in names:
            text = _STRUCTURE[name](rng, text)
        return names[0], text.encode("utf-8", "surrogatepass")
    mutation = rng.choice(sorted(set(TEXT) - {"hostile value inserted", "deep nesting"}))
    mutate: Mutation = TEXT[mutation]
    return mutation, mutate(rng, text.encode(), other.encode())


def judge_parameters(path: Path) -> Outcome:
    """Read the file as a run does: with ``globals.yml``, merged and resolved, then group by group into its type."""
    from kedro.validation.exceptions import ParameterValidationError

    from bdpo_pipeline.hooks import check_names
    from bdpo_pipeline.io.config_loader import ProjectConfigLoader
    from bdpo_pipeline.settings import CONFIG_LOADER_ARGS

    source = path.parent / "conf"
    (source / "base").mkdir(parents=True)
    (source / "local").mkdir()
    if path.name != "globals.yml":
        shutil.copyfile(BASE / "globals.yml", source / "base" / "globals.yml")
    shutil.copyfile(path, source / "base" / path.name)

    def read() -> None:
        loader = ProjectConfigLoader(conf_source=str(source), **CONFIG_LOADER_ARGS)
        globals_ = loader["globals"]
        parameters = loader["parameters"] if path.name != "globals.yml" else {}
        validator, known = _validator()
        check_names(parameters, known | set(globals_))
        _check_usable(validator.validate_raw_params(parameters))

    try:
        # Of what several files and the command line may give, the name of the parameter says most.
        message = judge(read, (path.name, "Parameter '", "the parameter '"), ParameterValidationError)
    finally:
        shutil.rmtree(source)
    return Outcome("refused" if message else "read", message=message or "")


def _check_usable(value: Any) -> None:
    """Raise where a number was let through that nothing can be computed with."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            _check_usable(item)
    if isinstance(value, int | float) and not abs(value) <= 2**63:
        raise Violation(f"let through the number {str(value)[:40]}")


@cache
def _validator() -> tuple[Any, set[str]]:
    from kedro.framework.project import pipelines
    from kedro.framework.startup import bootstrap_project
    from kedro.validation.parameter_validator import ParameterValidator

    from bdpo_pipeline.hooks import _used_groups

    bootstrap_project(ROOT)
    return ParameterValidator(dict(pipelines)), _used_groups()

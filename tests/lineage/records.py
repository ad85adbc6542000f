"""Records for tests, made up but whole."""

from dataclasses import replace
from typing import Any

from bdpo_pipeline.lineage.recipe import Recipe
from bdpo_pipeline.lineage.record import Ingredient, Made, Record

RECIPE = Recipe(
    function="toy.nodes:make",
    parameters={"params:training": {"epochs": 1, "optimiser": {"learning_rate": 1e-4}}, "params:seed": 7},
    files={},
    inputs={},
    definitions={"toy.nodes:make": "aa", "toy.text:clean": "bb"},
    packages={"pandas": "3.0.0"},
    python="3.11.9",
    datasets={"table": {"type": "pandas.ParquetDataset"}},
)


def record(name: str, node: str, sha256: str, session: str = "s1", **recipe: Any) -> Record:
    """A record without inputs; see `made_from`."""
    return Record(
        name=name,
        path=f"data/{name}/{session}/{name}",
        version=session,
        sha256=sha256,
        bytes=3,
        files={name: sha256},
        made=Made(node=node, recipe=replace(RECIPE, **recipe), inputs={}, files={}, in_memory={}, jobs=[]),
        session={
            "run_id": session,
            "env": None,
            "pipeline_names": [],
            "runtime_params": {},
            "command": "kedro run",
        },
        code={"commit": "c0ffee", "branch": "main", "dirty": "false"},
        machine={"python": "3.11.9", "cpu": "toy"},
        packages={"pandas": "3.0.0"},
        tracking={},
        time=f"2026-01-01T00:00:00+00:00 {session}",
    )


def made_from(child: Record, *parents: Record) -> Record:
    """The same record as made from others."""
    made = replace(
        child.made,
        recipe=replace(child.made.recipe, inputs={one.name: one.sha256 for one in parents}),
        inputs={one.name: Ingredient(one.path, one.version, one.sha256, one.seal) for one in parents},
    )
    return replace(child, made=made)

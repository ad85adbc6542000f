"""Fresh runs of two arms of a study, each in a namespace of its own."""

import json
from pathlib import Path

from .fresh_project import SOURCE

# What runs after a parameter of the right arm was changed.
ONE_ARM = "right.select_pairs right.tokenise_pairs"
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
    assert again.ran.keys() == set(ONE_ARM.split())
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

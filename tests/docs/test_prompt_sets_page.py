"""The examples of docs/prompt_sets.md as a user's conf/local, through Kedro's own loader: read, compared and chosen from."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from bdpo_pipeline.benchmarks.prompts import read_prompt_sets
from bdpo_pipeline.hooks import PromptSetsHook
from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.pipelines.evaluation.nodes import chosen_prompts

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/prompt_sets.md").read_text(), flags=re.DOTALL)
THEIRS = "/data/requests.parquet"


def requests(path: Path) -> Path:
    table = pd.DataFrame({"kind": ["harmful", "harmless"] * 3, "language": ["en"] * 5 + ["fr"]})
    for column in ("text", "topic", "plain_request", "begin"):
        table[column] = [f"{column} {number}" for number in range(6)]
    table.to_parquet(path)
    return path


@pytest.mark.parametrize(
    ("example", "expected"), zip(EXAMPLES, [{"mine": 5}, {"in_the_wild": 666}], strict=True)
)
def test_an_example_is_all_that_a_user_must_write(
    example: str, expected: dict[str, int], tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf", ignore=shutil.ignore_patterns("local"))
    local = tmp_path / "conf/local/parameters.yml"
    local.parent.mkdir()
    local.write_text(example.replace(THEIRS, str(requests(tmp_path / "requests.parquet"))))
    bootstrap_project(ROOT)
    with KedroSession.create(project_path=ROOT, conf_source=str(tmp_path / "conf")) as session:
        catalog = session.load_context().catalog
        PromptSetsHook().before_pipeline_run(pipelines["__default__"], catalog)
        ingestion, generation = (catalog.load(f"params:{name}") for name in ("ingestion", "generation"))
    raw = RawFolder(ROOT / "data/01_raw")
    table = read_prompt_sets(ingestion.evaluation_prompts, raw, ingestion.max_row_bytes)
    assert dict(chosen_prompts(table, generation, seed=1)["prompt_set"].value_counts()) == expected

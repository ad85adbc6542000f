"""What the node takes for the safety classifier when no set of prompts is asked that would keep its labels' prompts apart."""

from pathlib import Path

import pytest
import yaml

from bdpo_pipeline.io.raw_folder import RawFolder
from bdpo_pipeline.io.schemas import get_schema
from bdpo_pipeline.io.tables import StoredTable, TableWriter
from bdpo_pipeline.judges.labels import read_shipped
from bdpo_pipeline.pipelines.judges.nodes import gather_labelled_responses
from bdpo_pipeline.pipelines.judges.parameters import JudgeTrainingParameters

from ...filters.conftest import make_pair, make_parameters

ROOT = Path(__file__).parents[3]
RAW = RawFolder(ROOT / "data/01_raw")


def table(name: str, *rows: dict) -> StoredTable:
    with TableWriter(get_schema(name)) as writer:
        for row in rows:
            writer.append(row)
        return writer.finish()


@pytest.mark.parametrize("label_set", ["jailbreakbench", "xstest"])
def test_prompts_of_the_labels_that_ship_are_fitted_to_by_no_safety_classifier(label_set: str) -> None:
    shipped = read_shipped(RAW)
    labelled = shipped.loc[shipped["label_set"] == label_set, "prompt"].iloc[0]
    read = yaml.safe_load((ROOT / "conf/base/parameters_judges.yml").read_text())["judge_training"]
    pairs = [make_pair(text, split="train") for text in (labelled, labelled.upper(), "Which bread is best?")]
    found = gather_labelled_responses(
        RAW,
        table("pairs", *pairs),
        *(table("pairs") for _ in range(3)),
        table("evaluation_prompts"),
        JudgeTrainingParameters(**read | {"max_labelled": 5}),
        make_parameters(),
        seed=1,
    )
    assert found.groupby("label_set").size()["xstest"] == 5
    assert set(found.loc[found["label_set"] == "unused_responses", "prompt"]) == {"Which bread is best?"}
